class SealingError(Exception):
    """Nothing can be sealed; what must be done about it is the message."""


class SealKeyLockedError(SealingError):
    """SECRET_KEY is not the one under which the newest key is kept."""

    def __init__(self) -> None:
        super().__init__("the key for seals can't be opened: SECRET_KEY was changed (see rotate_seal_key)")


class ChainBrokenError(SealingError):
    """The newest seal says nothing that another could be chained to."""

    def __init__(self) -> None:
        super().__init__("the newest seal is not one of ours: see verify_audit")
