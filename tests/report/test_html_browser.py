"""``report.html`` in a browser: a headless Chromium that the machine has; none is ever fetched."""

import json
import os
import re
import shutil
import sys

import pytest
from synthetic import step_costs, study

from lrbench.report import write

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402 - after the check that it is there
from selenium.webdriver.common.actions.action_builder import ActionBuilder  # noqa: E402 - likewise
from selenium.webdriver.common.by import By  # noqa: E402 - likewise
from selenium.webdriver.common.keys import Keys  # noqa: E402 - likewise

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium or chromedriver is not on this machine")

HOSTILE = "</script><img src=x onerror=window.broken=1>"


def options():
    chosen = webdriver.ChromeOptions()
    chosen.binary_location = CHROMIUM
    root = sys.platform == "linux" and os.geteuid() == 0
    quiet = [
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]  # it asks for nothing
    for argument in [
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        *quiet,
        *(["--no-sandbox"] if root else []),
    ]:
        chosen.add_argument(argument)
    chosen.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return chosen


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A report of two workloads, three optimizers and an evil one, with the costs of their steps."""
    folder = tmp_path_factory.mktemp("study")
    optimizers = ("sgd(momentum=0.9)", "adam", "rmsprop", HOSTILE)
    return write(study(folder, optimizers=optimizers, costs=step_costs())).with_suffix(".html").as_uri()


@pytest.fixture(scope="module")
def browser():
    driver = webdriver.Chrome(options=options(), service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, address):
    """The page, freshly opened in a window of 1280 x 1000 pixels; afterwards the console must be clean and nothing asked for."""
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"media": "", "features": [{"name": "prefers-color-scheme", "value": "light"}]}
    )
    resize(browser, 1280, 1000)
    browser.get(address)
    yield browser
    assert browser.get_log("browser") == []
    assert not browser.execute_script("return window.broken")
    assert browser.execute_script("return performance.getEntriesByType('resource').map((of) => of.name)") in (
        [],
        ["data:,"],
    )
    sent = [
        entry["message"]
        for entry in browser.get_log("performance")
        if '"Network.requestWillBeSent"' in entry["message"]
    ]
    assert {url for message in sent for url in re.findall(r'"request":\{.*?"url":"(.*?)"', message)} <= {
        address,
        "data:,",
    }


def resize(browser, width, height):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def all_of(browser, selector):
    return browser.find_elements(By.CSS_SELECTOR, selector)


def one(browser, selector):
    return browser.find_element(By.CSS_SELECTOR, selector)


def column(browser, name):
    """What a column of the table says, from top to bottom."""
    script = """
        const heads = [...document.querySelectorAll('#table thead th')].filter((th) => !th.hidden);
        const at = heads.findIndex((th) => th.dataset.column === arguments[0]);
        return [...document.querySelectorAll('#table tbody tr')].map((tr) => tr.children[at].textContent)"""
    return browser.execute_script(script, name)


def choose(browser, selector, value):
    """Choose from a list with the arrow keys."""
    options = [option.get_attribute("value") for option in all_of(browser, f"{selector} option")]
    at = next(select for select in all_of(browser, f"{selector}, {selector} select") if select.tag_name == "select")
    here = options.index(at.get_property("value"))
    at.send_keys((Keys.ARROW_DOWN if options.index(value) > here else Keys.ARROW_UP) * abs(options.index(value) - here))
    assert at.get_property("value") == value


def press(browser, *keys):
    ActionChains(browser).send_keys(*keys).perform()


def number(text):
    return float(re.match(r"[\d.]+", text)[0])


def test_it_shows_every_strategy_of_a_workload_best_first(opened):
    assert column(opened, "rank")[0] == "1"
    assert len(column(opened, "rank")) == 8
    values = [number(text) for text in column(opened, "metric")]
    assert values == sorted(values, reverse=True)
    assert one(opened, "#count").text == "8 strategies"
    assert len(all_of(opened, "#response .line")) == len(all_of(opened, "#curve .line")) > 3
    assert len(all_of(opened, "#scatter .mark.dot")) == 8


def test_a_hostile_label_is_text(opened):
    assert HOSTILE in column(opened, "optimizer")
    assert all(img.get_attribute("src").startswith("data:image/png") for img in all_of(opened, "img"))


def test_a_click_sorts_and_another_turns_it_round(opened):
    one(opened, "th[data-column=best_lr] button").click()
    assert one(opened, "th[data-column=best_lr]").get_attribute("aria-sort") == "ascending"
    up = [number(text) for text in column(opened, "best_lr")]
    assert up == sorted(up)
    one(opened, "th[data-column=best_lr] button").click()
    assert one(opened, "th[data-column=best_lr]").get_attribute("aria-sort") == "descending"
    assert [number(text) for text in column(opened, "best_lr")] == sorted(up, reverse=True)
    assert len(all_of(opened, "th[aria-sort]")) == 1


def test_the_keyboard_sorts_and_what_is_unknown_stays_last(opened):
    opened.execute_script("document.querySelector('th[data-column=rank] button').focus()")
    while opened.switch_to.active_element.text.split("\n")[0] != "Time to target":
        press(opened, Keys.TAB)
    press(opened, Keys.SPACE)
    assert one(opened, "th[data-column=seconds]").get_attribute("aria-sort") == "ascending"
    times = column(opened, "seconds")
    assert times[-2:] == ["-", "-"]
    assert [number(text) for text in times[:-2] if text != "never"]
    press(opened, Keys.ENTER)
    assert one(opened, "th[data-column=seconds]").get_attribute("aria-sort") == "descending"
    assert column(opened, "seconds")[-2:] == ["-", "-"]


def test_filters_and_search_narrow_the_table(opened):
    choose(opened, "#filter-optimizer", "adam")
    assert column(opened, "optimizer") == ["adam", "adam"]
    assert one(opened, "#count").text == "2 of 8 strategies"
    one(opened, "#search").send_keys("COS ada")
    assert column(opened, "schedule") == ["cosine"]
    one(opened, "#search").send_keys(" nothing")
    assert column(opened, "rank") == []
    assert "No strategy fits" in one(opened, "#scatter").text
    one(opened, "#reset").click()
    assert len(column(opened, "rank")) == 8
    choose(opened, "#filter-only", "diverged")
    assert 0 < len(column(opened, "rank")) < 8


def test_a_run_is_found_by_its_key(opened):
    one(opened, "td button").click()
    key = one(opened, "#command").text.removeprefix("lrbench show ")
    press(opened, Keys.ESCAPE)
    one(opened, "#search").send_keys(key)
    assert len(column(opened, "rank")) == 1


def test_a_click_on_a_row_takes_it_in_and_out_of_the_charts(opened):
    one(opened, "#clear").click()
    assert all_of(opened, "#response .line") == []
    assert "Click rows of the table" in one(opened, "#response").text
    row = all_of(opened, "#table tbody tr")[3]
    row.find_element(By.CSS_SELECTOR, "td.words").click()
    assert len(all_of(opened, "#response .line")) == len(all_of(opened, ".legend .chip")) == 1
    assert row.find_element(By.CSS_SELECTOR, "input").is_selected()
    one(opened, ".chip button").click()
    assert all_of(opened, "#response .line") == []
    row.find_element(By.CSS_SELECTOR, "input").send_keys(Keys.SPACE)
    assert len(all_of(opened, "#curve .line")) == 1


def point_at(browser, where):
    """Move the pointer to what a script finds: a place in the window."""
    place = browser.execute_script(f"const at = {where}; return [Math.round(at.x), Math.round(at.y)]")
    pointer = ActionBuilder(browser)
    pointer.pointer_action.move_to_location(*place)
    pointer.perform()


def held(browser, row):
    """The cells of a row in the page's data."""
    cells = json.loads(browser.execute_script("return document.getElementById('data').textContent"))["cells"]
    return [dict(zip(cells, values, strict=True)) for values in zip(*cells.values(), strict=True) if values[0] == row]


def test_pointing_at_the_response_tells_its_median_its_range_the_strategy_and_a_key(opened):
    box = "document.querySelector('#response .mark.full').getBoundingClientRect()"
    point_at(opened, f"{{x: {box}.x + {box}.width / 2, y: {box}.y + {box}.height / 2}}")
    tip = one(opened, "#response .tip").text
    lit = opened.execute_script("return Number(document.querySelector('#response .lit').dataset.row)")
    [cell] = [cell for cell in held(opened, lit) if f"lr {cell['lr']}:" in tip]
    told = [f"{100 * cell[name]:.1f} %" for name in ("middle", "least", "most")]
    assert f"lr {cell['lr']}: validation accuracy {told[0]}, {told[1]} to {told[2]}" in tip
    assert cell["keys"].split()[0] in tip
    assert " / uniform / " in tip


def test_pointing_at_a_curve_tells_its_value(opened):
    line = "document.querySelector('#curve .line')"
    point_at(opened, f"{line}.getPointAtLength({line}.getTotalLength() * 0.5).matrixTransform({line}.getScreenCTM())")
    tip = one(opened, "#curve .tip").text
    assert re.search(
        r"step \d+: validation loss \d\.\d+, \d\.\d+ to \d\.\d+\nlr [\d.]+, 5 runs\n[0-9a-f]{16} and 4 more$", tip
    )
    point_at(opened, "{x: 5, y: 5}")
    assert not one(opened, "#curve .tip").is_displayed()


def test_the_arrow_keys_walk_along_a_chart_and_enter_opens_the_runs(opened):
    opened.execute_script("document.querySelector('#response .panel svg').focus()")
    press(opened, Keys.ARROW_RIGHT)
    before = one(opened, "#response .tip").text
    press(opened, Keys.ARROW_RIGHT)
    assert one(opened, "#response .tip").text != before
    name = one(opened, "#response .tip b").text
    press(opened, Keys.ARROW_DOWN)
    assert one(opened, "#response .tip b").text != name
    name = one(opened, "#response .tip b").text
    press(opened, Keys.ENTER)
    assert one(opened, "#runs").is_displayed()
    assert one(opened, "#runs-name").text == name
    assert one(opened, "#command").text.split()[-1] in one(opened, "tr.here .keys").text


def test_the_runs_under_a_number_are_told_with_a_command_to_copy(opened):
    all_of(opened, "td button")[0].click()
    keys = all_of(opened, "#runs .keys button")
    assert len(keys) == 25
    keys[7].click()
    assert one(opened, "#command").text == f"lrbench show {keys[7].text}"
    assert one(opened, "#copied").text
    one(opened, "#runs-close").click()
    assert not one(opened, "#runs").is_displayed()


def test_axes_ranges_and_colours_can_be_chosen(opened):
    def path():
        return one(opened, "#response .line").get_attribute("d")

    drawn = path()
    for selector, value in [
        ("#response .axes label:nth-of-type(2)", "relative"),
        ("#response .axes label:nth-of-type(1)", "loss"),
        ("#response .title", "1"),
    ]:
        choose(opened, selector, value)
        assert path() != drawn
        drawn = path()
    choose(opened, "#curve .axes label:nth-of-type(2)", "seconds")
    assert "training time" in one(opened, "#curve .panel svg").get_attribute("aria-label")
    choose(opened, "#scatter .axes label:nth-of-type(2)", "width")
    assert "usable width" in one(opened, "#scatter .panel svg").get_attribute("aria-label")
    choose(opened, "#colour", "schedule")
    assert [chip.text for chip in all_of(opened, ".chip.key")] == ["cosine", "constant"]
    assert len({g.get_attribute("class") for g in all_of(opened, "#response g.series")}) == 2


def test_all_workloads_together_have_a_panel_each(opened):
    one(opened, "input[value=all]").click()
    assert set(column(opened, "workload")) == {"digits_mlp", "mnist_cnn"}
    assert len(column(opened, "rank")) == 16
    assert [len(all_of(opened, f"#{chart} .panel svg")) for chart in ("response", "curve", "scatter")] == [2, 2, 2]


def test_dark_follows_the_system_and_can_be_switched(opened):
    def background():
        return opened.execute_script("return getComputedStyle(document.documentElement).backgroundColor")

    light = background()
    one(opened, "#theme").click()
    dark = background()
    assert dark != light
    assert one(opened, "#theme").get_attribute("aria-pressed") == "true"
    opened.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    one(opened, "#theme").click()
    assert background() == light
    opened.refresh()
    assert background() == dark


def test_nothing_is_wider_than_a_phone(opened):
    resize(opened, 360, 800)
    parts = "[document.scrollingElement.scrollWidth, ...document.querySelectorAll('#response svg')]"
    widths = f"return {parts}.map((of) => of.clientWidth ?? of)"
    assert max(opened.execute_script(widths)) <= 360
    all_of(opened, "td button")[0].click()
    assert one(opened, "#runs").size["width"] <= 360


def test_on_paper_there_are_no_controls_and_it_is_light(opened):
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": dark})
    assert (
        opened.execute_script("return getComputedStyle(document.documentElement).backgroundColor")
        == "rgb(255, 255, 255)"
    )
    assert not any(of.is_displayed() for of in all_of(opened, "select, .filters, #theme, td input"))
    assert one(opened, "#table").is_displayed()


def test_the_first_tab_stop_leads_to_the_table(opened):
    press(opened, Keys.TAB)
    skip = opened.switch_to.active_element
    assert skip.text == "Skip to the table"
    assert skip.is_displayed()
    press(opened, Keys.ENTER)
    assert opened.switch_to.active_element.get_attribute("id") == "strategies"


def test_everything_that_can_be_worked_has_a_name(opened):
    nameless = """
        const named = (of) => of.getAttribute('aria-label') || of.textContent.trim() || of.labels?.[0]?.textContent.trim();
        const worked = [...document.querySelectorAll('button, select, input, [tabindex="0"]')].filter((of) => !of.closest('dialog'));
        return worked.filter((of) => !named(of)).length"""
    assert opened.execute_script(nameless) == 0
    assert all(th.get_attribute("scope") == "col" for th in all_of(opened, "#table th"))
