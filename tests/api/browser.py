"""A headless Chromium before the page: what the browser tests share. Debian's chromium and chromium-driver, PyPI's selenium."""
import json
import os
import shutil
import time

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

PHONE, DESKTOP = (390, 844), (1280, 800)
FLAGS = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--disable-default-apps", "--disable-features=Translate,MediaRouter,OptimizationHints"]


def missing():
    """What is not installed, or None."""
    return next((p for p in ("chromium", "chromedriver") if not shutil.which(p)), None)


class Browser:
    def __init__(self):
        o = webdriver.ChromeOptions()
        o.binary_location = shutil.which("chromium")
        for flag in FLAGS + (["--no-sandbox"] if os.geteuid() == 0 else []):  # Chromium's sandbox does not run as root
            o.add_argument(flag)
        o.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.d = webdriver.Chrome(options=o, service=Service(shutil.which("chromedriver")))
        self.d.set_script_timeout(60)
        self.requests, self.console = [], []

    def cdp(self, name, **args):
        return self.d.execute_cdp_cmd(name, args)

    def js(self, body, *args):
        return self.d.execute_script(body, *args)

    def wait_js(self, body, *args):
        """body is the inside of an async function; what it returns comes back."""
        out = self.d.execute_async_script(
            "const done = arguments[arguments.length - 1], args = [...arguments].slice(0, -1);"
            "(async (...args) => {" + body + "})(...args).then((v) => done({v}), (e) => done({e: String(e && e.stack || e)}))", *args)
        assert "e" not in out, out["e"]
        return out.get("v")

    def until(self, body, *args, seconds=10, what=None):
        end = time.time() + seconds
        while True:
            if value := self.js(body, *args):
                return value
            assert time.time() < end, (what or body, self.js("return document.body.innerText"))
            time.sleep(0.02)

    def size(self, width, height):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def prefer(self, **features):
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": k.replace("_", "-"), "value": v} for k, v in features.items()])

    def find(self, selector):
        return self.d.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.d.find_elements(By.CSS_SELECTOR, selector)

    def click(self, selector):
        for tries in range(5):  # it may just be drawn again
            try:
                return self.find(selector).click()
            except StaleElementReferenceException:
                if tries == 4:
                    raise

    def keys(self, *keys, shift=False):
        a = ActionChains(self.d, duration=0)
        if shift:
            a.key_down(Keys.SHIFT)
        for k in keys:
            a.send_keys(k)
        if shift:
            a.key_up(Keys.SHIFT)
        a.perform()

    def read_logs(self):
        for entry in self.d.get_log("performance"):
            m = json.loads(entry["message"])["message"]
            if m["method"] == "Network.requestWillBeSent":
                self.requests.append(m["params"]["request"]["url"])
        self.console += self.d.get_log("browser")

    def quit(self):
        self.d.quit()


class Page(Browser):
    """The page and what people do on it."""

    def open(self, url, path=""):
        self.url = url
        self.d.get("about:blank")
        self.cdp("Storage.clearDataForOrigin", origin=url, storageTypes="all")
        self.go(path)

    def go(self, path=""):
        self.d.get("about:blank")
        self.d.get(f"{self.url}/{path}")
        self.until("return 'ready' in document.documentElement.dataset")

    def type(self, text):
        self.js("const a = document.getElementById('ask'); a.value = arguments[0]; a.dispatchEvent(new Event('input'));", text)

    def send(self, text):
        self.type(text)
        self.click("#send")

    def ask(self, text, seconds=20):
        """The whole answer's text."""
        n = len(self.all(".msg.bot"))
        self.send(text)
        self.until("return document.querySelectorAll('.msg.bot').length > arguments[0]", n)
        return self.answered(seconds)

    def answered(self, seconds=20):
        self.until("return !document.querySelector('.msg.running') && document.querySelector('.msg.bot')", seconds=seconds, what="no end of the answer")
        return self.answer()

    def answer(self):
        return self.js("return [...document.querySelectorAll('.msg.bot .body')].at(-1)?.innerText")

    def text(self, selector):
        return self.js("return document.querySelector(arguments[0])?.innerText", selector)

    def questions(self):
        return self.js("return [...document.querySelectorAll('.msg.user .body')].map((e) => e.innerText)")

    def focused(self):
        return self.js("const e = document.activeElement; return e.id || e.getAttribute('aria-label') || e.innerText || e.tagName")


# ---- fixtures, imported by the tests -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium():
    if gone := missing():
        pytest.skip(f"no {gone} (scripts/deps.sh test installs it)")
    b = Page()
    yield b
    b.quit()


@pytest.fixture
def page(chromium, server):
    """Fresh, at desktop size, light. Afterwards: nothing was asked of another machine, and the page itself broke nothing."""
    chromium.size(*DESKTOP)
    chromium.prefer(prefers_color_scheme="light", prefers_reduced_motion="no-preference")
    chromium.may_violate = False
    chromium.open(server.url)
    chromium.read_logs()
    chromium.requests, chromium.console = [], []
    yield chromium
    chromium.d.get("about:blank")  # ends what still streams
    chromium.read_logs()
    strange = [u for u in chromium.requests if not u.startswith(("http://127.0.0.1:", "blob:http://127.0.0.1:", "about:"))]
    assert not strange or chromium.may_violate and all(u.startswith("data:") for u in strange), strange  # Chromium's own error page
    broken = [e for e in chromium.console if e["level"] == "SEVERE" and e["source"] != "network"]
    assert chromium.may_violate or not broken, broken
