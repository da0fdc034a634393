"""The flow of trust: cross-signing, recovery, key backup and verification, carried to and from the server.

What is computed is in matrixdata.encryption; here it is asked for, sent, and shown to whoever must decide.
"""
