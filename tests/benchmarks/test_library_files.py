"""Files of Python's library as magika reads them."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def files(script):
    return script("library_files")


def test_a_file_is_its_beginning_and_its_end(files):
    row = files.magika_input(b"  \n" + b"a" * 1500 + b"b" * 10 + b"\n\n")[0]
    assert row.shape == (2048,) and set(row[:1024]) == {97}
    assert set(row[1024:-10]) == {97} and set(row[-10:]) == {98}


def test_a_short_file_is_padded_inside(files):
    row = files.magika_input(b"abc ")[0]
    assert row[:3].tolist() == [97, 98, 99] and row[3] == 32 and set(row[4:1024]) == {256}
    assert row[-3:].tolist() == [97, 98, 99] and set(row[1024:-3]) == {256}


def test_files_are_of_many_kinds_and_no_more_than_asked(files):
    found = files.library_files(7)
    assert len(found) == 7
    assert len({each["bytes"].tobytes() for each in found}) == 7
    assert all(each["bytes"].shape == (1, 2048) and each["bytes"].dtype == np.int32 for each in found)
