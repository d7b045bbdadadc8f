"""What reading JSON raises that others have written."""

from typing import Final

import msgspec

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""It is none or of another shape; a text in it is no UTF-8, which msgspec says only where the text is wanted; it is nested
without end."""
