"""The analysis as people use it: files that lie, the report in a real browser, old printouts."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hpcbench
from hpcbench.analysis.answers import answer
from hpcbench.analysis.reading import read_folder
from hpcbench.analysis.report.checklist import checklist
from hpcbench.compare import main as compare_sweeps
from hpcbench.plot import main as plot
from support import call, run
from support.runs import report_as
from synthetic_sweep import write_sweep

PLOT = ["python", "analysis/plot_scaling.py"]
HOSTILE = "<script>document.title = 'owned'</script>"


def fail(folder: Path, model: str, devices: int) -> None:
    """A run that did not end well, as run.json has it."""
    folder.mkdir()
    config = {
        "model": model,
        "dataset": "mnist",
        "strategy": "horovod",
        "scaling": "weak",
        "devices": devices,
        "precision": "float32",
        "input": "resident",
        "xla": False,
        "exchange": "flat",
    }
    document = {
        "schema_version": 1,
        "run_id": folder.name,
        "sweep": "s",
        "status": "failed",
        "failure": "out-of-memory",
        "message": f"too large {HOSTILE}",
        "config": config,
    }
    (folder / "run.json").write_text(json.dumps(document))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two models, three strategies, four counts, six repeats; and what goes wrong."""
    folder = tmp_path_factory.mktemp("results") / "s"
    write_sweep(folder, intervals=5)
    fail(folder / "f1", "cnn-2", 2)
    fail(folder / "f2", "cnn-2", 16)
    shutil.copytree(folder / "cnn-2-single-1-0", folder / "copied")
    broken = folder / "cnn-2-single-1-1" / "throughput.csv"
    broken.write_text(broken.read_text()[:-30])
    return folder


@pytest.fixture(scope="module")
def report(sweep, tmp_path_factory):
    output = tmp_path_factory.mktemp("figures")
    done = run([*PLOT, sweep, "--output", output, "--price", "2.5"])
    assert done.status == 0, done.errors
    return output


def test_what_was_left_out_is_counted_and_strict_minds(sweep, report, tmp_path):
    done = run([*PLOT, sweep, "--output", tmp_path, "--format", "json", "--strict"])
    assert done.status == 3
    assert "4 warnings" in done.errors
    for reason in ("the same run as", "ends within a line", "f1: failed: too large"):
        assert reason in done.errors
    words = json.loads((tmp_path / "report.json").read_text())
    assert len(words["warnings"]) == 4
    assert words["summary"][0].startswith("At 8 devices cnn-2 reaches a parallel efficiency of ")
    assert [rule["rule"].partition(".")[0] for rule in words["rules"]] == [*map(str, range(1, 13))]
    points = pd.DataFrame(words["points"])
    horovod = points[(points["model"] == "cnn-2") & (points["strategy"] == "horovod")]
    assert horovod.set_index("devices")["failed"].to_dict() == {1: 0, 2: 1, 4: 0, 8: 0, 16: 1}
    assert horovod.set_index("devices")["runs"].to_dict()[16] == 0


def test_a_notebook_has_the_points_of_the_report(sweep, report, capsys):
    frames = hpcbench.load(sweep)
    points = frames.points
    of_run = ["sweep", "run_id", "model", "framework", "strategy", "devices"]
    assert list(frames.ranks)[:6] == list(frames.failed)[:6] == of_run
    assert frames.failed["message"].str.startswith("too large").all()
    assert frames.ranks[of_run].notna().all(axis=None)
    written = pd.read_csv(report / "scaling.csv", keep_default_na=False, na_values=[""])
    assert list(points) == list(written)
    assert points["devices"].tolist() == written["devices"].tolist()
    assert points["failed"].tolist() == written["failed"].tolist()
    np.testing.assert_allclose(points["efficiency_low"].astype(float), written["efficiency_low"])


def test_nothing_is_forked_beside_threads(sweep, report, tmp_path):
    """Which JAX, and Python from 3.12 on, would warn of, since the fork may wait for ever."""
    program = f"""
import os, threading
from hpcbench.analysis.forks import may_fork
from hpcbench.plot import main

def draw(beside):
    print(beside)
    assert main([{str(sweep)!r}, "--output", {str(tmp_path)!r} + "/" + beside]) == 0

os.register_at_fork(before=lambda: print("forks"))
draw("nothing")
end = threading.Event()
thread = threading.Thread(target=end.wait)
thread.start()
assert not may_fork()
end.set()
thread.join()
assert may_fork()
import jax
draw("JAX")
"""
    done = run(["python", "-c", program])
    assert done.status == 0, done.errors
    alone, _, beside = done.output.partition("JAX\n")
    assert ("forks\n" in alone, "forks\n" in beside) == (True, False)
    for figure in report.glob("*.png"):
        for drawn in ("nothing", "JAX"):
            assert (tmp_path / drawn / figure.name).read_bytes() == figure.read_bytes()


def test_markdown_for_a_pull_request(sweep):
    text = report_as("md", sweep)
    assert "| cnn-2 | mnist | tensorflow | horovod | weak | 8 | 6 |" in text
    assert "<script>" not in text


def test_the_checklist_is_of_this_very_sweep(tmp_path):
    def rules(repeats):
        folder = tmp_path / str(repeats)
        write_sweep(folder, (1, 2), repeats, intervals=5, models=["cnn-2"], strategies=["horovod"])
        answers = answer(read_folder(folder), (), None)
        return [[cell.text for cell in row] for row in checklist(answers).rows]

    many, few = rules(6), rules(2)
    assert len(many) == 12
    assert (many[4][1], few[4][1]) == ("kept", "in part")
    assert "2 of 2 points have fewer than 6 runs" in few[4][2]
    assert many[3][2].startswith("Speedups are ratios of median rates"), "all began at once"
    assert "0 of 2 points are also held against single" in many[0][2]
    assert re.search("Shapiro.*: [01] of 1 point below 5 %", many[5][2])
    assert "which so few runs cannot check" in few[5][2]
    assert "2 of 2 have too few intervals a run for the 99th" in many[7][2]


def test_bad_flags_and_unwritable_output_are_one_sentence(sweep, tmp_path):
    (tmp_path / "file").touch()
    for flags, status, says in (
        (["--allow-mixed", "model"], 2, "choose from device_kind"),
        (["--output", tmp_path / "file"], 3, "cannot be written"),
        (["--format", "pdf"], 2, "invalid choice"),
        (["--extrapolate", "64"], 2, "1 to 4 times the largest count"),
    ):
        done = call(plot, sweep, *flags)
        assert done.status == status
        assert says in done.errors
        assert "Traceback" not in done.errors


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium: 'sudo apt-get install chromium'")
    with sync_playwright() as playwright:
        # Chromium cannot make its sandbox as root.
        sandbox = ["--no-sandbox"] if os.getuid() == 0 else []
        started = playwright.chromium.launch(executable_path=chromium, args=sandbox)
        yield started
        started.close()


@pytest.fixture
def page(browser, report):
    """The report opened from disk, without a network; fails on any message of the console."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on(
        "request",
        lambda request: (
            said.append(request.url) if request.url[:5] not in ("file:", "data:") else None
        ),
    )
    opened.goto(f"file://{report}/report.html")
    yield opened
    assert said == []
    context.close()


def column(page, table: str, index: int) -> list[str]:
    cells = page.locator(f"#{table} tbody tr td:nth-child({index})")
    return list(cells.all_inner_texts())


@pytest.mark.slow
def test_tables_sort_by_click_and_by_keyboard(page):
    names = page.locator("#points th").all_inner_texts()
    place = next(i for i, name in enumerate(names, 1) if name.startswith("devices"))
    header = page.locator(f"#points th:nth-child({place})")
    header.locator("button").click()
    devices = [int(text) for text in column(page, "points", place)]
    assert devices == sorted(devices)
    assert header.get_attribute("aria-sort") == "ascending"
    header.locator("button").focus()
    page.keyboard.press("Enter")
    assert [int(text) for text in column(page, "points", place)] == sorted(devices, reverse=True)
    rate = next(i for i, name in enumerate(names, 1) if name.startswith("samples/s"))
    page.locator(f"#points th:nth-child({rate}) button").click()
    shown = [text.split(" ")[0].replace(",", "") for text in column(page, "points", rate)]
    numbers = [float(text) for text in shown if text != "–"]
    assert numbers == sorted(numbers)
    assert shown[-1] == "–", "what is missing comes last"


@pytest.mark.slow
def test_links_lead_somewhere_and_a_point_opens_its_provenance(page):
    targets = page.eval_on_selector_all("a", "links => links.map(a => a.getAttribute('href'))")
    assert len(targets) > 20
    for target in targets:
        assert page.locator(f"[id='{target[1:]}']").count() == 1, target
    page.locator("#points tbody a").first.click()
    details = page.locator("details[open]")
    # The event that opens it comes after the click.
    details.first.wait_for()
    assert details.count() == 1
    assert "TensorFlow" in details.inner_text() or "tensorflow" in details.inner_text()


@pytest.mark.slow
def test_text_from_result_files_is_escaped(page):
    assert page.title() == "How training scales: s"
    assert HOSTILE in page.locator("#failed").inner_text()
    ids = page.eval_on_selector_all("[id]", "all => all.map(element => element.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_is_accessible(page, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.slow
def test_printing_loses_nothing(page):
    page.emulate_media(media="print")
    overflowing = page.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > 1200).length"
    )
    assert overflowing == 0
    assert len(page.pdf(format="A4", landscape=True)) > 20_000


def test_figures_are_vector_and_large_enough_for_print(report):
    from matplotlib.image import imread

    for name in (
        "overview",
        "throughput",
        "speedup",
        "efficiency",
        "step_time",
        "laws",
        "accuracy_epochs",
        "accuracy_seconds",
    ):
        height, width = imread(report / f"{name}.png").shape[:2]
        assert width == pytest.approx(85 / 25.4 * 300, abs=2), "85 mm at 300 dots an inch"
        assert height < 3 * width
        text = (report / f"{name}.svg").read_text()
        assert "<text" in text, "letters, not outlines"
        assert "<image" not in text


def compare(*arguments):
    return call(compare_sweeps, *arguments)


def test_comparing_two_sweeps(tmp_path):
    for name, seed, speed in (("old", 1, 1.0), ("same", 2, 1.0), ("slow", 3, 0.85)):
        write_sweep(tmp_path / name, (1, 2), intervals=3, seed=seed, speed=speed, noise=0.005)
    same = run(["python", "analysis/compare.py", tmp_path / "old", tmp_path / "same"])
    assert same.status == 0, same.output
    assert "10 points, threshold 5 %: 0 slower beyond the threshold, 10 not slower" in same.output
    assert "OLD and NEW are one sweep each, so whatever else differed" in same.output
    slow = compare(tmp_path / "old", tmp_path / "slow")
    assert slow.status == 1
    assert ": 10 slower beyond the threshold" in slow.output
    assert compare(tmp_path / "old", "--threshold", "30", tmp_path / "slow").status == 0
    near = compare(tmp_path / "old", tmp_path / "slow", "--threshold", "15")
    assert near.status == 3
    assert "more of them tell whether something did" in near.errors
    faster = compare(tmp_path / "slow", tmp_path / "old")
    assert (faster.status, ", 10 faster, " in faster.output) == (0, True)
    assert compare(tmp_path / "old", tmp_path / "none").status == 2
    write_sweep(tmp_path / "one", (1,), intervals=3, seed=4, noise=0.005)
    less = compare(tmp_path / "old", tmp_path / "one")
    assert less.status == 3, "points that vanished are no success"
    assert "only in OLD: horovod cnn-2 at 2" in less.output
    assert compare(tmp_path / "old", tmp_path / "one", "--allow-missing").status == 0
    for name, seed in (("few", 5), ("also few", 6)):
        write_sweep(tmp_path / name, (1, 2), repeats=2, intervals=3, seed=seed)
    few = compare(tmp_path / "few", tmp_path / "also few")
    assert few.status == 3
    assert "of 10 of 10 points it cannot be told" in few.errors
    assert "runs of each in OLD and in NEW (here 2)" in few.errors
    assert compare(tmp_path / "old", tmp_path / "same", "--across", "model").status == 2
    write_sweep(tmp_path / "four", (4,), intervals=3, seed=7)
    apart = compare(tmp_path / "old", tmp_path / "four")
    assert apart.status == 3
    assert "no point is in both: all differ in devices\n" in apart.errors
    for config in (tmp_path / "same").glob("*/*.csv"):
        config.write_text(config.read_text().replace("float32", "float64"))
    apart = compare(tmp_path / "old", tmp_path / "same")
    assert "all differ in precision; --across precision compares what does" in apart.errors


def test_comparing_several_sweeps_a_side(tmp_path):
    sides = {"old": 1.0, "new": 0.85}
    folders = {side: [tmp_path / f"{side}-{day}" for day in range(3)] for side in sides}
    for seed, (side, speed) in enumerate(sides.items()):
        for day, folder in enumerate(folders[side]):
            write_sweep(
                *(folder, (1, 2), 2),
                intervals=3,
                seed=10 * seed + day,
                speed=speed * (1 + 0.01 * day),
                models=["cnn-2"],
                noise=0.005,
            )
    done = compare("--old", *folders["old"], "--json", "--new", *folders["new"])
    assert done.status == 1, done.errors
    words = json.loads(done.output)
    assert words["slower"]
    assert words["sweeps"] == [3, 3]
    assert {row["old_count"] for row in words["points"]} == {3}
    names = [[row["point"] for row in words[name]] for name in ("points", "usage")]
    assert names[0] == names[1]
    assert words["common"]["low"] < -0.15 < words["common"]["high"]
    for wrong in (
        ["--old", *folders["old"], "--new", *folders["new"], folders["old"][0]],
        ["--old", *folders["old"], folders["old"][1], "--new", *folders["new"]],
    ):
        twice = compare(*wrong)
        assert twice.status == 2
        assert "a measurement counts once, on one side" in twice.errors
    for wrong in (
        [tmp_path / "old-0"],
        [*folders["old"]],
        ["--old", *folders["old"]],
        [*folders["old"][:2], "--old", *folders["old"], "--new", *folders["new"]],
    ):
        assert compare(*wrong).status == 2
