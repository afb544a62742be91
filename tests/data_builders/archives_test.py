"""Archives that are damaged or cut short end in one clear line: nothing in them is missed in silence."""

import bz2
import gzip
import lzma
import tarfile
import zipfile

import numpy as np
import pytest

from data_builders.faults import BadFile
from data_builders.sources import source_files
from tests.data_builders.drawn import write_tar

FILES = {f"a/{i}.png": bytes([i]) * 700 for i in range(4)}

OPENERS = {".tar": open, ".tar.gz": gzip.open, ".tar.bz2": bz2.open, ".tar.xz": lzma.open}


def _places(tar):
    """Where the headers lie."""
    with tarfile.open(tar) as archive:
        return [member.offset for member in archive]


@pytest.mark.parametrize("suffix", OPENERS)
@pytest.mark.parametrize("behind", [0, 1, 300, 512, 1100])
def test_a_tar_that_is_cut_short_is_an_error_wherever(tmp_path, behind, suffix):
    whole = write_tar(tmp_path / "whole.tar", FILES)
    cut = tmp_path / f"cut{suffix}"
    with OPENERS[suffix](cut, "wb") as file:
        file.write(whole.read_bytes()[: _places(whole)[2] + behind])
    with pytest.raises(ValueError, match=r"is not a whole tar .*; download it again") as caught:
        source_files(cut)
    assert str(cut) in str(caught.value) and "\n" not in str(caught.value)


def test_a_tar_with_a_damaged_header_is_an_error(tmp_path):
    path = write_tar(tmp_path / "a.tar", FILES)
    content = bytearray(path.read_bytes())
    content[_places(path)[2] + 150] ^= 0xFF  # of its checksum
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.tar is not a whole tar .*; download it again"):
        source_files(path)


def test_a_tar_with_an_end_of_any_length_is_read(tmp_path):
    path = write_tar(tmp_path / "a.tar", FILES)
    content = path.read_bytes().rstrip(b"\0")
    end = -(-len(content) // 512) * 512
    for zeros in (512, 1024, 10_240):
        path.write_bytes(content.ljust(end + zeros, b"\0"))
        assert [file.read() for file in source_files(path)] == list(FILES.values())


@pytest.mark.parametrize("end", ["gz", "bz2", "xz"])
def test_a_file_that_is_compressed_otherwise_is_named(tmp_path, end):
    path = tmp_path / f"a.tar.{end}"
    path.write_bytes(b"not compressed at all")
    with pytest.raises(ValueError, match=rf"a\.tar\.{end} is not whole .*; download it again"):
        source_files(path)


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_entries_of_a_zip_that_are_damaged_are_named_however_they_are_compressed(tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", kind) as archive:
        archive.writestr("a/1.png", np.random.default_rng(0).bytes(5000))
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[60:90] = bytes(byte ^ 0x5A for byte in content[60:90])
    (tmp_path / "a.zip").write_bytes(content)
    (file,) = source_files(tmp_path / "a.zip")
    with pytest.raises(BadFile, match=r"a\.zip: a/1\.png: damaged in the zip"):
        file.read()


def test_a_zip_whose_directory_is_damaged_is_named(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1.png", b"one")
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")
    newer = bytearray(content)
    newer[directory + 6] = 99  # the version that reading it takes
    path.write_bytes(newer)
    with pytest.raises(ValueError, match=r"a\.zip is not a whole zip .*; download it again"):
        source_files(path)
