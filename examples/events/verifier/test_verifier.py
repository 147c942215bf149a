"""Tests of the functions that need no AWS: python -m unittest test_verifier"""

import base64
import json
import unittest

from verifier import is_shopify, is_svix, message

# The example of https://docs.svix.com/receiving/verifying-payloads/how-manual
SVIX_SECRET = "whsec_plJ3nmyCDGBKInavdOK15jsl"
SVIX_BODY = b'{"event_type":"ping","data":{"success":true}}'
SVIX_TIME = 1731705121
SVIX_HEADERS = {
    "svix-id": "msg_loFOjxBNrRLzqYUf",
    "svix-timestamp": str(SVIX_TIME),
    "svix-signature": "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
}

# Test case 2 of https://www.rfc-editor.org/rfc/rfc4231
RFC_SECRET, RFC_BODY = "Jefe", b"what do ya want for nothing?"
RFC_MAC = bytes.fromhex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
RFC_HEADERS = {"x-shopify-hmac-sha256": base64.b64encode(RFC_MAC).decode()}


class Svix(unittest.TestCase):
    def check(self, is_right, secret=SVIX_SECRET, body=SVIX_BODY, now=SVIX_TIME, **headers):
        changed = {**SVIX_HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
        self.assertEqual(is_svix(secret, changed, body, now), is_right, (body, now, changed))

    def test_the_documented_signature_is_right(self):
        self.check(True)
        self.check(True, now=SVIX_TIME + 300)
        self.check(True, svix_signature="v1,AAAA v2,x " + SVIX_HEADERS["svix-signature"])

    def test_every_change_is_found(self):
        self.check(False, body=SVIX_BODY + b" ")
        self.check(False, secret="whsec_" + base64.b64encode(b"another").decode())
        self.check(False, svix_id="msg_another")
        for time in ["", "x", "-1", str(SVIX_TIME + 1), "\u0661"]:
            self.check(False, svix_timestamp=time)
        signature = SVIX_HEADERS["svix-signature"]
        for text in ["", "v1,", signature[3:], "v2" + signature[2:], signature[:-1], signature + "=", "v1,\u00e9"]:
            self.check(False, svix_signature=text)
        self.check(False, now=SVIX_TIME + 301)
        self.check(False, now=SVIX_TIME - 301)

    def test_an_empty_secret_is_an_error(self):
        for secret in ["", "whsec_"]:
            with self.assertRaises(ValueError):
                is_svix(secret, SVIX_HEADERS, SVIX_BODY, SVIX_TIME)


class Shopify(unittest.TestCase):
    def test_signature(self):
        self.assertTrue(is_shopify(RFC_SECRET, RFC_HEADERS, RFC_BODY))
        self.assertFalse(is_shopify(RFC_SECRET, RFC_HEADERS, RFC_BODY + b" "))
        self.assertFalse(is_shopify("jefe", RFC_HEADERS, RFC_BODY))
        self.assertFalse(is_shopify(RFC_SECRET, {}, RFC_BODY))
        with self.assertRaises(ValueError):
            is_shopify("", RFC_HEADERS, RFC_BODY)


class Message(unittest.TestCase):
    def test_the_event_is_forwarded_as_it_is(self):
        text = message("svix", SVIX_SECRET, SVIX_HEADERS, SVIX_BODY, SVIX_TIME)
        self.assertIn(f'"event":{SVIX_BODY.decode()}', text)
        self.assertEqual(json.loads(text)["id"], "msg_loFOjxBNrRLzqYUf")

    def test_nothing_else_is_forwarded(self):
        self.assertIsNone(message("svix", SVIX_SECRET, {}, SVIX_BODY, SVIX_TIME))
        # Signed, but no JSON.
        self.assertIsNone(message("shopify", RFC_SECRET, RFC_HEADERS, RFC_BODY, 0))
        with self.assertRaises(KeyError):
            message("none", SVIX_SECRET, SVIX_HEADERS, SVIX_BODY, SVIX_TIME)


if __name__ == "__main__":
    unittest.main()
