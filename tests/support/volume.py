"""Volumes of ConfigMaps and Secrets, as a Pod sees them."""

from pathlib import Path


def swap_volume(folder: Path, name: str, **files: str) -> None:
    """As the kubelet writes a ConfigMap: a folder, a link `..data` to it put in place at once, links to files in it."""
    content = folder / f"..{name}"
    content.mkdir()
    for file, text in files.items():
        (content / file).write_text(text)
        if not (folder / file).is_symlink():
            (folder / file).symlink_to(f"..data/{file}")
    new = folder / "..data_tmp"
    new.symlink_to(content.name)
    new.rename(folder / "..data")
