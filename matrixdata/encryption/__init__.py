"""End-to-end encryption (spec "End-to-end encryption"), on vodozemac. No network, no clock, no randomness of its own.

Every verb of the engine is a function over one transaction of account.db: it reads the keys it needs, computes,
writes them back. Two processes can therefore never use one ratchet twice, and a crash leaves all or nothing.
"""
