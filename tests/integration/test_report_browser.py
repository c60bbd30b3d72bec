"""The report in a real browser: nothing is loaded, nothing runs, nothing is cut off on a phone or a desk."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgerl.report import render_report
from edgerl.runtime.enums import Event
from tests import simulated_run as simulated

image = pytest.importorskip("matplotlib.image", reason="matplotlib (extra `report`) is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (Debian: apt install chromium)"),
]

EVIL = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
# The page stands unchanged in a frame, which can be narrower than any window; the measuring script stands outside it.
FRAME = """<!DOCTYPE html><iframe id="frame" style="border:0;width:WIDTHpx;height:900px" srcdoc="PAGE"></iframe>
<pre id="found"></pre><script>document.getElementById("frame").addEventListener("load", event => {
  const inner = event.target.contentDocument, box = element => element.getBoundingClientRect();
  const shown = [...inner.querySelectorAll("svg")].filter(one => one.getClientRects().length);
  const size = text => parseFloat(inner.defaultView.getComputedStyle(text).fontSize);
  const scale = text => Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b);
  const letters = shown.flatMap(one => [...one.querySelectorAll("text")].map(text => size(text) * scale(text)));
  document.getElementById("found").textContent = JSON.stringify({
    title: inner.title, drawings: shown.length, smallest: Math.min(...letters),
    overflow: inner.documentElement.scrollWidth - inner.documentElement.clientWidth,
    outside: shown.filter(one => box(one).right > WIDTH + 1 || box(one).left < -1).length,
    empty: shown.filter(one => box(one).height < 50).length,
    loaded: event.target.contentWindow.performance.getEntriesByType("resource").length,
    sections: [...inner.querySelectorAll("section")].filter(one => box(one).height > 40).length});
});</script>"""


def _chromium(folder: Path, *arguments: str) -> str:
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder / 'user'}")
    done = subprocess.run([CHROMIUM, *options, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def page() -> str:
    names = tuple(f"joint{index}{EVIL}" for index in range(6))
    rows = simulated.records(3000, 2000, names)
    simulated.be_late(rows, 700, 4)
    rows["missed_periods"][900] = 3
    simulated.meet(rows, 1000, Event.REJECT)
    simulated.fall_back(rows, 2500)
    return render_report(simulated.report(rows, names=names, title=f"a run {EVIL}", heading={"robot": EVIL}))


@pytest.mark.parametrize(("width", "smallest"), [(390, 8.5), (1200, 11.0)])
def test_the_page_fits_its_window_loads_nothing_and_runs_nothing(page, width, smallest, tmp_path):
    file = tmp_path / "frame.html"
    file.write_text(FRAME.replace("WIDTH", str(width)).replace("PAGE", html.escape(page)))
    dom = _chromium(tmp_path, "--virtual-time-budget=5000", "--dump-dom", file.as_uri())
    found = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', dom, re.S)[1]))
    assert found["title"] == f"a run {EVIL}: run report"
    assert found["drawings"] == 1 + 4 + 12
    assert found["sections"] == 8
    assert found["smallest"] >= smallest
    assert {name: found[name] for name in ("overflow", "outside", "empty", "loaded")} == {
        "overflow": 0, "outside": 0, "empty": 0, "loaded": 0,
    }  # fmt: skip


def _pixels(page: str, folder: Path, *options: str) -> np.ndarray:
    (folder / "page.html").write_text(page)
    shot = folder / "shot.png"
    _chromium(folder, f"--screenshot={shot}", "--window-size=1000,3000", *options, (folder / "page.html").as_uri())
    return (image.imread(shot)[..., :3] * 255).round().astype(int)


@pytest.mark.parametrize(
    ("options", "paper"), [((), (0xF6, 0xF7, 0xF9)), (("--blink-settings=preferredColorScheme=0",), (0x14, 0x18, 0x1C))]
)
def test_the_page_is_painted_light_or_dark_with_its_drawings(page, options, paper, tmp_path):
    seen = _pixels(page, tmp_path, *options)
    assert tuple(seen[2, 2]) == paper
    flat = seen.reshape(-1, 3)
    dark = sum(paper) < 300
    blue, late = ((0x4B, 0xA3, 0xDD), (0xF0, 0xB0, 0x3C)) if dark else ((0, 0x72, 0xB2), (0xD9, 0x8E, 0x04))
    for colour, least in ((blue, 5000), (late, 20)):
        assert np.count_nonzero((abs(flat - colour) <= 2).all(axis=1)) >= least
    # Letters against the paper: the darkest on light, the lightest on dark.
    brightness = flat.sum(axis=1)
    assert (brightness.max() > 680) if dark else (brightness.min() < 130)


def test_the_page_prints_on_a_few_sheets(page, tmp_path):
    (tmp_path / "page.html").write_text(page)
    _chromium(tmp_path, f"--print-to-pdf={tmp_path / 'page.pdf'}", (tmp_path / "page.html").as_uri())
    pdf = (tmp_path / "page.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 8
