"""Find the folders that ship with the package, in a checkout and in an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped(folder: str) -> Path:
    """Return the path of a shipped folder.

    A checkout keeps ``models`` and ``datasets`` beside the package; a wheel keeps them inside it.
    An editable install never sees the wheel's copy, so the checkout is tried first.

    Args:
        folder: ``"models"`` or ``"datasets"``.

    Returns:
        The folder's path.

    Raises:
        FileNotFoundError: Neither place has the folder.
    """
    checkout = _PACKAGE.parent / folder
    if checkout.is_dir() and (_PACKAGE.parent / "pyproject.toml").is_file():
        return checkout
    installed = _PACKAGE / "_shipped" / folder
    if installed.is_dir():
        return installed
    raise FileNotFoundError(f"the shipped folder {folder!r} is neither {checkout} nor {installed}")
