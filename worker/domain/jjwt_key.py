"""The key that the portal signs with: JJWT reads the configured secret as base64 in its own lenient way."""

_PADDING = 127
_SEXTETS = {
    char: number for number, char in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
} | {"=": _PADDING}


def jjwt_key(secret: str) -> bytes:
    """The HMAC key that JJWT (0.6 to 0.9.1, over JAXB's parseBase64Binary) makes of its configured string.

    Characters outside the alphabet are dropped, and so is an incomplete last group of four. `=` in the third and
    fourth place of a group leaves that byte out; elsewhere it counts as the number 127.

    Raises:
        ValueError: Java fails on this string too (beyond ASCII, or `=` at its end without a group to pad), so no
            portal can have signed with it.
    """
    if not secret.isascii():
        raise ValueError("a character beyond ASCII")
    sextets = [_SEXTETS[char] for char in secret if char in _SEXTETS]
    groups = iter(sextets)
    key = bytearray()
    for first, second, third, fourth in zip(groups, groups, groups, groups, strict=False):
        key.append((first << 2 | second >> 4) & 0xFF)
        if third != _PADDING:
            key.append((second << 4 | third >> 2) & 0xFF)
        if fourth != _PADDING:
            key.append((third << 6 | fourth) & 0xFF)
    if len(key) > _expected_length(secret):
        raise ValueError("an `=` at its end that pads nothing")
    return bytes(key)


def _expected_length(secret: str) -> int:
    """The room JAXB makes before it decodes: tight when the string looks well padded. It fails when it needs more."""
    packed = secret.rstrip("=")
    padding = len(secret) - len(packed)
    well_padded = padding <= 2 and (not packed or packed[-1] in _SEXTETS)
    return len(secret) // 4 * 3 - (padding if well_padded else 0)
