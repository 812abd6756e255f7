class SealingError(Exception):
    """No row can be sealed. The message has the remedy."""


class SealKeyLockedError(SealingError):
    """The newest key was encrypted under another SECRET_KEY."""

    def __init__(self) -> None:
        super().__init__("the seal key can't be decrypted: SECRET_KEY was changed (run rotate_seal_key)")


class ChainBrokenError(SealingError):
    """The newest seal can't be parsed, so no other can follow it."""

    def __init__(self) -> None:
        super().__init__("the newest seal can't be read (run verify_audit)")
