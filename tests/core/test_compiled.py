"""Libraries that are compiled when they are first needed: the cache, and what is in its way."""

import ctypes
import shutil

import pytest

from invreg.computing import compiled
from invreg.computing.compiled import compiled_library
from invreg.errors import InvregWarning

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A file in C; its libraries are looked for again, here and afterwards."""
    file = tmp_path / "twice.c"
    file.write_text("int twice(int x) { return 2 * x; }\n")
    monkeypatch.setenv("INVREG_CACHE", str(tmp_path / "cache"))
    compiled_library.cache_clear()
    yield file
    compiled_library.cache_clear()


def check(source):
    compiled_library.cache_clear()
    library = compiled_library(source, "slower")
    assert isinstance(library, ctypes.CDLL)
    assert library.twice(21) == 42


@needs_compiler
@pytest.mark.slow
def test_a_library_that_was_cut_off_is_made_anew_and_a_cache_is_not_needed(source, monkeypatch, tmp_path):
    check(source)
    (whole,) = (tmp_path / "cache" / "compiled").iterdir()
    cut = tmp_path / "cut" / "compiled" / whole.name
    cut.parent.mkdir(parents=True)
    monkeypatch.setenv("INVREG_CACHE", str(tmp_path / "cut"))
    for size in (0, 100, whole.stat().st_size - 1000):  # the last one would end the process if it were loaded
        cut.unlink(missing_ok=True)  # the file before stays loaded
        cut.write_bytes(whole.read_bytes()[:size])
        check(source)
        assert cut.read_bytes() == whole.read_bytes()
    cut.parent.chmod(0o777)  # somebody else may have written it: nothing is loaded from there
    with pytest.raises(OSError, match="somebody else"):
        compiled._own(cut)
    check(source)
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("INVREG_CACHE", str(tmp_path / "file"))
    check(source)


@needs_compiler
@pytest.mark.slow
def test_options_of_the_compiler_do_not_hide_functions(source, monkeypatch):
    monkeypatch.setenv("CC", "cc -fvisibility=hidden")
    check(source)


@needs_compiler
@pytest.mark.slow
def test_macros_make_libraries_of_their_own(source):
    source.write_text("int doubled(void) { return 2 * N; }\n")
    made = [compiled_library(source, "slower", f"N={number}") for number in (3, 4)]
    assert [library.doubled() for library in made] == [6, 8]


@needs_compiler
@pytest.mark.slow
def test_each_kind_of_processor_has_its_own_library(source, monkeypatch, tmp_path):
    for number, flags in enumerate(["flags : fpu sse", "flags : fpu sse avx", ""], 1):
        monkeypatch.setattr(compiled, "_instructions", lambda flags=flags: flags)
        check(source)
        check(source)
        assert len(list((tmp_path / "cache" / "compiled").iterdir())) == number
    monkeypatch.undo()
    monkeypatch.setattr(compiled, "_PROCESSOR", tmp_path / "nothing")
    assert compiled._instructions() == ""


@pytest.mark.parametrize(
    ("compiler", "words"),
    [
        ("no-such-compiler", "no C compiler 'no-such-compiler' was found"),
        ("false", "failed"),
        ("true", "has written nothing"),
        ("cc '", "CC is .* cannot be split into words: No closing quotation"),
    ],
)
def test_what_is_in_the_way_is_said_once_and_briefly(source, monkeypatch, compiler, words):
    if compiler in ("false", "true") and shutil.which(compiler) is None:
        pytest.skip(f"this system has no program `{compiler}`")
    monkeypatch.setenv("CC", compiler)
    with pytest.warns(InvregWarning, match=f"^radon: slower: .*{words}") as said:
        assert [compiled_library(source, "radon: slower") for _ in range(2)] == [None, None]
    assert len(said) == 1
    assert len(str(said[0].message)) < 400
