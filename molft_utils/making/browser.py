"""JupyterLab in a real browser: ``make browser``.

Notebooks run cell by cell in headless Chromium, in the smoke profile. Then every widget is moved, and what stands
beneath it must change; nothing may fail on the way, and the browser's console may hold no error. Screenshots stay in
``runs/browser``. Skipped where there is no Chromium.
"""

import argparse
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..files import ROOT, RUNS_FOLDER

FOLDER = RUNS_FOLDER / "browser"
NOTEBOOKS = ("01_split", "02_baseline", "04_influence", "05_tsdshapley")
PORT = 8899

#: The screenshot that the README shows.
SHOWN = "02_baseline_widget1.png"

#: All cells stay on the page, and nothing asks or tells.
SETTINGS = {
    "@jupyterlab/notebook-extension/tracker.jupyterlab-settings": '{"windowingMode": "none"}',
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": '{"fetchNews": "false"}',
}

#: Whether the open notebook's kernel has nothing to do.
IDLE = "return window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'"

#: Text beneath the widget that holds an element.
BENEATH = "return arguments[0].closest('.jp-OutputArea-child').innerText"


@contextmanager
def jupyterlab(token: str) -> Iterator[str]:
    """A server while the context lasts; its address."""
    settings = FOLDER / "settings"
    for name, text in SETTINGS.items():
        path = settings / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    environment = {**os.environ, "MOLFT_PROFILE": "smoke", "JUPYTERLAB_SETTINGS_DIR": str(settings)}
    environment |= {"MOLFT_STAGES": str(FOLDER / "stages"), "MOLFT_FIGURES": str(FOLDER / "figures")}
    options = [
        "--no-browser",
        f"--port={PORT}",
        f"--IdentityProvider.token={token}",
        "--LabApp.expose_app_in_browser=True",
    ]
    command = [sys.executable, "-m", "jupyterlab", *options, f"--ServerApp.root_dir={FOLDER / 'tree'}", "--allow-root"]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(lambda: urllib.request.urlopen(f"http://127.0.0.1:{PORT}/api?token={token}"), 60, "JupyterLab to start")
        yield f"http://127.0.0.1:{PORT}"
    finally:
        server.terminate()
        server.wait(30)


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser of a projector's width."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1500,1000"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "SEVERE"})
    options.binary_location = shutil.which("chromium") or shutil.which("chromium-browser") or ""
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    browser = webdriver.Chrome(options, service)
    try:
        yield browser
    finally:
        browser.quit()


def _wait(ready: Any, seconds: float, what: str) -> Any:
    """Ask until the answer is true.

    Raises
    ------
    SystemExit
        After so many seconds.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := ready():
                return found
        except Exception:  # not there yet: a refused connection, an element that is still to come
            pass
        time.sleep(0.3)
    raise SystemExit(f"waited {seconds:.0f} s for {what}")


def run_all(browser: Any, address: str, token: str, name: str) -> None:
    """Open a notebook, run all of its cells, and see that none failed.

    Raises
    ------
    SystemExit
        If a cell failed; with its error.
    """
    browser.get(f"{address}/lab/tree/{name}.ipynb?token={token}&reset")
    ready = "return window.jupyterapp && document.querySelectorAll('.jp-NotebookPanel .jp-CodeCell').length > 10"
    _wait(lambda: browser.execute_script(ready), 90, f"{name} to open")
    _wait(lambda: browser.execute_script(IDLE), 90, f"the kernel of {name}")
    # Started and then asked after: the driver's own wait ends after two minutes.
    start = "window.allRan = false; window.jupyterapp.commands.execute('notebook:run-all-cells')"
    browser.execute_script(f"{start}.then(() => {{ window.allRan = true }})")
    _wait(lambda: browser.execute_script("return window.allRan"), 900, f"all cells of {name}")
    _wait(lambda: browser.execute_script(IDLE), 60, f"{name} to be done")
    errors = ".jp-OutputArea-output[data-mime-type*=error]"
    failed = browser.execute_script(f"return [...document.querySelectorAll('{errors}')].map(e => e.innerText)")
    if failed:
        raise SystemExit(f"{name}: {failed[0][-600:]}")


def move_widgets(browser: Any, name: str) -> int:
    """Move every widget of the open notebook, and return how many there are.

    Raises
    ------
    SystemExit
        If what stands beneath a widget does not change.
    """
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    kinds = (".noUi-handle", ".widget-text input, .jupyter-widgets input[type=text]", ".widget-dropdown select")
    n_moved = 0
    for kind in kinds:
        for element in browser.find_elements(By.CSS_SELECTOR, kind):
            browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            before = browser.execute_script(BENEATH, element)
            if "select" in kind:
                Select(element).select_by_index(1)
            elif "input" in kind:
                element.send_keys(Keys.CONTROL, "a")
                element.send_keys("c1ccccc1O", Keys.ENTER)
            else:
                element.send_keys(Keys.ARROW_RIGHT)
            _wait(
                lambda e=element, b=before: browser.execute_script(BENEATH, e) != b, 30, f"a widget of {name} to answer"
            )
            _wait(lambda: browser.execute_script(IDLE), 60, f"{name} to be done")
            n_moved += 1
            browser.save_screenshot(str(FOLDER / f"{name}_widget{n_moved}.png"))
    return n_moved


def console_errors(browser: Any) -> list[str]:
    """Errors on the browser's console, but for the network that there is none of."""
    ours = [entry["message"] for entry in browser.get_log("browser") if "127.0.0.1" in entry["message"]]
    return [message for message in ours if "favicon" not in message and "beforeunload" not in message]


def main() -> None:
    """Run what there is, or say why not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--refresh", action="store_true", help=f"put the screenshot {SHOWN} into figures/")
    refresh = parser.parse_args().refresh
    if not (shutil.which("chromium") or shutil.which("chromium-browser")) or not shutil.which("chromedriver"):
        print("skipped: there is no Chromium with its driver here (Debian: chromium and chromium-driver)")
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    shutil.copytree(ROOT / "notebooks", FOLDER / "tree", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    token = secrets.token_hex(16)
    with jupyterlab(token) as address, chromium() as browser:
        for name in NOTEBOOKS:
            began = time.perf_counter()
            run_all(browser, address, token, name)
            n_widgets = move_widgets(browser, name)
            if errors := console_errors(browser):
                raise SystemExit(f"{name}, on the console: {errors[0]}")
            print(f"{name:16} {n_widgets} widgets answered, {time.perf_counter() - began:4.0f} s", flush=True)
    print(f"screenshots: {Path(FOLDER).relative_to(ROOT)}")
    if refresh:
        shutil.copy(FOLDER / SHOWN, ROOT / "figures" / "browser.png")


if __name__ == "__main__":
    main()
