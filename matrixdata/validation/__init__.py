"""Is this JSON valid under that schema? One verdict on every platform. Pure: no network, no clock."""
