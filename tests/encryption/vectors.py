"""Test vectors made by others: facts, not code.

ALICE, SESSION, ENCRYPTED, BACKED_UP: matrix-js-sdk, spec/test-utils/crypto-test-data (Apache-2.0).
KEY_FILE, ATTACHMENT, STORAGE_*, BASE58_*: matrix-rust-sdk, tests of matrix-sdk-crypto (Apache-2.0).
"""

from __future__ import annotations

ALICE = "@alice:localhost"
ALICE_SEEDS = {
    "master": b"doyouspeakwhaaaaaaaaaaaaaaaaaale",
    "self_signing": b"selfselfselfselfselfselfselfself",
    "user_signing": b"useruseruseruseruseruseruseruser",
}
ALICE_PUBLIC = {
    "master": "J+5An10v1vzZpAXTYFokD1/PEVccFnLC61EfRXit0UY",
    "self_signing": "aU2+2CyXQTCuDcmWW0EL2bhJ6PdjFW2LbAsbHqf02AY",
    "user_signing": "g5TC/zjQXyZYuDLZv7a41z5fFVrXpYPypG//AFQj8hY",
}
# By the master key, of the two others.
ALICE_SIGNATURES = {
    "self_signing": "XfhYEhZmOs8BJdb3viatILBZ/bElsHXEW28V4tIaY5CxrBR0YOym3yZHWmRmypXessHZAKOhZn3yBMXzdajyCw",
    "user_signing": "6AkD1XM2H0/ebgP9oBdMKNeft7uxsrb0XN1CsjjHgeZCvCTMmv3BHlLiT/Hzy4fe8H+S1tr484dcXN/PIdnfDA",
}
ALICE_DEVICE = {
    "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
    "device_id": "test_device",
    "keys": {
        "curve25519:test_device": "F4uCNNlcbRvc7CfBz95ZGWBvY1ALniG1J8+6rhVoKS0",
        "ed25519:test_device": "YI/7vbGVLpGdYtuceQR8MSsKB/QjgfMXM1xqnn+0NWU",
    },
    "user_id": "@alice:localhost",
    "signatures": {
        "@alice:localhost": {
            "ed25519:test_device": (
                "LmQC/yAUZJmkxZ+3L0nEwvtVWOzjqQqADWBhk+C47SPaFYHeV+E291mgXaSCJVeGltX+HC49Aw7nb6ga7sw0Aw"
            )
        }
    },
}

BACKUP_KEY = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo="
BACKUP_KEY_SHOWN = "EsTc LW2K PGiF wKEA 3As5 g5c4 BXwk qeeJ ZJV8 Q9fu gUMN UE4d"
BACKUP_PUBLIC = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo"
BACKUP_KEY_OF_ANOTHER = "dh4fP2LITyJusgnb0dEq/SQK253WGObvLxXF5FEX6qc"
SESSION = {
    "algorithm": "m.megolm.v1.aes-sha2",
    "room_id": "!room:id",
    "sender_key": "WimPd2udAU/1S/+YBpPbmr9L+0H5H+BnAVHSwDxlPGc",
    "session_id": "ipdI6Zs/7DzFTEhiA2iGaMDfHkIYCleqXT6L+5e1/co",
    "session_key": (
        "AQAAAABXGO+Z9jlQJhIL6ByhXrv2BwCIxkhh7MXpKLsYmXkJcWrQlirmXmD79ga1zo+I4DCtEZzyGSpDWXBC6G7ez3H4"
        "gDMBam1RE3Jm5tc+oTlIri32UkYgSL0kBkcEnttqmIXBlK8tAfJo3cJnlh7F4ltEOAqrdME6dU0zXTkqXmURqYqXSOmb"
        "P+w8xUxIYgNohmjA3x5CGApXql0+i/uXtf3K"
    ),
    "sender_claimed_keys": {"ed25519": "Bhbpt6hqMZlSH4sJV7xiEEEiPVeTWz4Vkujl1EMdIPI"},
    "forwarding_curve25519_key_chain": [],
    "m.shared_history": True,
}
# Called the same session from its second message on; the script that made it hashed b"x\03" for b"\x03", so it is not.
SESSION_LATER = SESSION | {
    "session_key": (
        "AQAAAAFXGO+Z9jlQJhIL6ByhXrv2BwCIxkhh7MXpKLsYmXkJcWrQlirmXmD79ga1zo+I4DCtEZzyGSpDWXBC6G7ez3H4"
        "gDMBam1RE3Jm5tc+oTlIri32UkYgSL0kBkcEnttqmIUWvpwC7by/yg231+gyzu9lDHAU4ivCj48pt7WGiORWmIqXSOmb"
        "P+w8xUxIYgNohmjA3x5CGApXql0+i/uXtf3K"
    )
}
ENCRYPTED_EVENT = {
    "type": "m.room.encrypted",
    "room_id": "!room:id",
    "sender": "@alice:localhost",
    "content": {
        "algorithm": "m.megolm.v1.aes-sha2",
        "sender_key": "WimPd2udAU/1S/+YBpPbmr9L+0H5H+BnAVHSwDxlPGc",
        "ciphertext": (
            "AwgAEnAkBmciEAyhh1j6DCk29UXJ7kv/kvayUNfuNT0iAioLxcXjFXOZ5ho3jF1/wrytlt0Lb298uMM67OxdVMi+/mMf"
            "Ypwlvi07P9cIH6CMSj8tyhYoWl0SrKY6tkPf5GWOlRSRRKbziXa96FHXvnA3V2FCAIGtAe3G4ei5RPbhkmKAFBLAen33"
            "/D6MjJVqU8Ojr5vTkgls5eyirarlVpsmnH06alDaxO8avrU0NL+Vsw26xvlUQgEMOnUJ"
        ),
        "session_id": "ipdI6Zs/7DzFTEhiA2iGaMDfHkIYCleqXT6L+5e1/co",
        "device_id": "TEST_DEVICE",
    },
    "event_id": "$event1",
    "origin_server_ts": 1507753886000,
}
ENCRYPTED_TYPE, ENCRYPTED_CONTENT = "m.room.message", {"msgtype": "m.text", "body": "Hello world"}
BACKED_UP = {
    "first_message_index": 1,
    "forwarded_count": 0,
    "is_verified": False,
    "session_data": {
        "ciphertext": (
            "r6HRk2/Im2yJe5cLP8R81aVjFWjYWPHpw7TVxphiSK1cdIDZTTK57r6MfU+0i/mTPn+/PosT74OvYwCnehy2dyqqks+E"
            "v+uBKw3TAo0HCv7W3Rmq9XtqxikG9ts7XtcjFEkx37+qRaXtikcu0+CmUf+I5X6KStwNXb+CPnN2CGgwpn8g5+xEgSjE"
            "904QFrte4s9ygfqymgszgF7kzNICYF5g2GTlss8pdu/GLnh52AKvtT6FcqE5LC74N07BDWUycMHMMMw43F7z5GhzEnoW"
            "OXlbz+M4eTGrCYuhvcmQGNbdgzYqEXPm1z4xFhVgs84kFCtNeUc+AHZWfC2zynZ++4tpmfCYYpYEfYwQNo9Ks7o+Mh2P"
            "tAo9/GIU4xAK/uG0vizEiNYt/1QAxwgrmDxjdRe5TH4pPUtLMktRDyZKeUHJmYZA7pcLtpVatXhXmVEQLFLDc/uusxaB"
            "xFXYkx7BQnNRoa1BE1yXRxud94s6vMsI/auhn95TG58Z0Rz9psRT4HzgDKeHf/uVbdfKR9O3gqxlB4mzZAyTCqHhUQER"
            "mGiISC2FeuKkAwVk/ZxXiFqSTUCizwXcczGbzEbC+pBJTi6jX5Pa2yI9cT5C8xaGGUzEaKdNWukcs73uvXoFl/5y0Y29"
            "PkfE8UlPWpN4kZn7hrcOllcqqV9ZMH+rBbGViIw0yZ6yQUciEJzO8Gk3yz36lIT30VhCgKXMu+kELEPTRSVXqEQkCXBc"
            "fNOhgl3LIso"
        ),
        "ephemeral": "q+P1WdRtEiPIEtNuuGrRcueZxUbLnSKdsuTAkxewXgU",
        "mac": "OibmACbORhI",
    },
}

KEY_FILE_PASSPHRASE = "1234"
KEY_FILE = (
    "-----BEGIN MEGOLM SESSION DATA-----\n"
    "Af7mGhlzQ+eGvHu93u0YXd3D/+vYMs3E7gQqOhuCtkvGAAAAASH7pEdWvFyAP1JUisAcpEoXke2Q7Kr9hVl/SCc6jX\n"
    "BNeJCZcrUbUV4D/tRQIl3E9L4fOk928YI1J+3z96qiH0uE7hpsCICkHKwjPU+0XTzFdIk1X8H7sZ+MD/2Sg/q3y8rt\n"
    "Ujz7uEj4GUTnb+9SCOTVmJsRfqgUpM1CUbDLytHf1JkohY4tWEgpsCc67xdzgodjr12qYrfg/zNm3LGpxlrffJknw4\n"
    "rk5QFTj4kMbqbDZZgDTni+HxRTDGge2J620lMOiznvXX+H09Rwruqx5aJvvaaKd86jWRpiO2oSFqHn4u5ONl941uzm\n"
    "62Sj0eIm6ZbA9NQs87jQw4LxsejhZVL+NdjIg80zVSBTWhTdo0DTnbFSNP4ReOiz0UXosOF8A5T8Vdx2nvA0GXltfc\n"
    "HKVKQYh/LJAkNQ7P9UYL4ae/5TtQZkhB1KxCLTRWqADCl53uBMGpG53EMgY6G6K2DEIOkcv7sdXQF5WpemiSWZqJRW\n"
    "j+cjfs9BpCTbkp/rszWFl2TniWpRRqIbT2jORlN4rTvdtF0F4z1pqP4qWyR3sLNTkXm9CFRzWADNG0RDZKxbCoo6RP\n"
    "vtaCTfaHoSwfvzBS6CjfAG+FOugpV48o7+XetaUUPZ6/tZSPhCdeV8eP9q5r0QwWeXFogzoNzWt4HYx9MdXxzD+f0m\n"
    "tg5gzehrrEEARwI2bCvPpHxlt/Na9oW/GBpkjwR1LSKgg4CtpRyWngPjdEKpZGYW19pdjg0qdXNk/eqZsQTsNWVo6A\n"
    "-----END MEGOLM SESSION DATA-----"
)

ATTACHMENT = bytes.fromhex("b39a767fba7f6e21cb2121864364ad2eeb1bd7ac241a4b2f21a0")
ATTACHMENT_INFO = {
    "v": "v2",
    "key": {
        "kty": "oct",
        "alg": "A256CTR",
        "ext": True,
        "k": "Voq2nkPme_x8no5-Tjq_laDAdxE6iDbxnlQXxwFPgE4",
        "key_ops": ["decrypt", "encrypt"],
    },
    "iv": "i0DovxYdJEcAAAAAAAAAAA",
    "hashes": {"sha256": "ANdt819a8bZl4jKy3Z+jcqtiNICa2y0AW4BBJ/iQRAU"},
}
ATTACHMENT_CLEAR = b"It's a secret to everybody"

STORAGE_PASSPHRASE = "It's a secret to everybody"
STORAGE_BY_PASSPHRASE = {
    "algorithm": "m.secret_storage.v1.aes-hmac-sha2",
    "iv": "gH2iNpiETFhApvW6/FFEJQ",
    "mac": "9Lw12m5SKDipNghdQXKjgpfdj1/K7HFI2brO+UWAGoM",
    "passphrase": {"algorithm": "m.pbkdf2", "salt": "IuLnH7S85YtZmkkBJKwNUKxWF42g9O1H", "iterations": 10},
}
STORAGE_KEY_SHOWN = "EsTj 3yST y93F SLpB jJsz eAXc 2XzA ygD3 w69H fGaN TKBj jXEd"
STORAGE_BY_KEY = {
    "algorithm": "m.secret_storage.v1.aes-hmac-sha2",
    "iv": "xv5b6/p3ExEw++wTyfSHEg==",
    "mac": "ujBBbXahnTAMkmPUX2/0+VTfUh63pGyVRuBcDMgmJC8=",
}
BASE58_TYPED = "EsT           pRvZTnjck8    YrhRAtw XLS84Nr2r9S9LGAWDaExVAPBvLRK   "
BASE58_KEY = bytes.fromhex("9fbd46bb345171c6f6022c9a25d5681ba54eec6a6c4953f3adc0b96e9d91ada3")
BASE58_WRONG = {
    "its check digit": "EsTpRvZTnjck8YrhRAtwXLS84Nr2r9S9LGAWDaExVAPBvLRk",
    "begin with Es": "AATpRvZTnjck8YrhRAtwXLS84Nr2r9S9LGAWDaExVAPBvLRk",
    "characters are missing": "AATpRvZTnjck8YrhRAtwXLS84Nr2r9S9",
    "never 0, O, I or l": "AATpRvZTnjck8YrhRAtwXLS84Nr0OIl",
}
