"""``hpcbench``: its parts, its help, its completion."""

import sys

from hpcbench.__main__ import COMMANDS
from support import Finished, run


def hpcbench(*arguments: str) -> Finished:
    return run([sys.executable, "-m", "hpcbench", *arguments])


def test_without_arguments_it_names_its_parts():
    done = hpcbench()
    assert done.status == 0
    assert all(f"    {name} " in done.output for name in COMMANDS)


def test_a_misspelt_part_is_suggested():
    done = hpcbench("sweeep")
    assert (done.status, done.output) == (2, "")
    assert done.errors == "hpcbench: unknown command 'sweeep'; did you mean 'sweep'?\n"


def test_a_misspelt_flag_of_a_part_is_suggested():
    for typed, meant in (("--sitte", "--site"), ("--dryrun", "--dry-run")):
        done = hpcbench("sweep", "submit", "default", typed, "generic")
        assert done.status == 2
        assert f"unknown argument '{typed}'; did you mean '{meant}'?" in done.errors
    assert "unexpected argument 'more'" in hpcbench("sweep", "plan", "default", "more").errors
    assert "did you mean '--help'" in hpcbench("--hepl").errors
    assert "fetch is a part of another: hpcbench sweep fetch" in hpcbench("fetch", "a").errors
    assert "unknown command 'trian'; did you mean 'train'?" in hpcbench("trian").errors


def test_a_part_is_the_module_of_its_name():
    assert (
        hpcbench("sweep", "--help").output
        == run([sys.executable, "-m", "hpcbench.sweep", "--help"]).output
    )


def test_the_completion_knows_parts_flags_values_and_files(tmp_path):
    """As bash asks for it at a tab."""
    script = tmp_path / "completion"
    script.write_text(hpcbench("--print-completion", "bash").output)
    for typed, wanted in (
        ("hpcbench sw", "sweep"),
        ("hpcbench train --strat", "--strategy"),
        ("hpcbench train --strategy hor", "horovod"),
        ("hpcbench plot READ", "README.md"),
        ("hpcbench plot --output READ", "README.md"),
        ("hpcbench sweep plan README", "README.md"),
    ):
        words = typed.split()
        ask = (
            f"source {script}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
            f"_shtab_hpcbench; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        )
        assert wanted in run(["bash", "-c", ask]).output.split()


def test_no_such_shell():
    done = hpcbench("--print-completion", "csch")
    assert done.status == 2
    assert "unknown shell 'csch'" in done.errors
