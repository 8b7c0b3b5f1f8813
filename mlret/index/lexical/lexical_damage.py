"""The error of a lexical index that is not what was written."""

from __future__ import annotations

from mlret.errors import Corrupt


class DamagedLexicalError(Corrupt):
    """The lexical index is not what was written; ``why`` is the reason."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the lexical index is damaged ({why}); `mlret index verify --repair` makes it again from the records"
        )
