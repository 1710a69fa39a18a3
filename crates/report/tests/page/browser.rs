//! The page in a browser, where one is installed: `$CHROME`, or Chromium or Chrome in the path.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixture::{Place, whole};

/// The browser; none says so.
fn browser() -> Option<PathBuf> {
    let named = env::var_os("CHROME").filter(|value| !value.is_empty()).map(PathBuf::from);
    let folders: Vec<PathBuf> =
        env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    let usual = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
    let found =
        || folders.iter().flat_map(|folder| usual.map(|name| folder.join(name))).find(|path| path.is_file());
    named.or_else(found)
}

/// Opens a page: what it became, and what its console said.
fn open(browser: &Path, place: &Place, html: &str, width: u32) -> (String, Vec<String>) {
    let page = place.write("page.html", html);
    let mut command = Command::new(browser);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", place.path("profile").display()))
        .arg(format!("--window-size={width},900"))
        .arg(format!("file://{}", page.display()));
    let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", browser.display()));
    let said = String::from_utf8_lossy(&output.stderr);
    let console = said.lines().filter(|line| line.contains("CONSOLE")).map(str::to_string).collect();
    (String::from_utf8_lossy(&output.stdout).into_owned(), console)
}

#[test]
fn nothing_fails_on_the_console() {
    let Some(browser) = browser() else {
        eprintln!("left out: no browser is installed (set CHROME to the program of one)");
        return;
    };
    let place = Place::new();
    let html = whole(&place).page().expect("a page").html;
    for width in [400, 1280] {
        let (dom, console) = open(&browser, &place, &html, width);
        assert_eq!(console, Vec::<String>::new(), "{width} pixels");
        // What the script adds to every plot.
        assert_eq!(
            dom.matches("tabindex=\"0\"").count(),
            html.matches("<svg ").count(),
            "{width} pixels: {} bytes",
            dom.len()
        );
    }
    // That a failure would be seen: a script that the policy does not name, and an image from elsewhere.
    let broken = html.replace("'use strict';", "'use strict'; void 0;");
    let (_, console) = open(&browser, &place, &broken, 1280);
    assert!(console.iter().any(|line| line.contains("Content Security Policy")), "{console:?}");
    let loading = html.replace("</main>", "<img src=\"https://localhost:1/x.png\" alt=\"\"></main>");
    let (_, console) = open(&browser, &place, &loading, 1280);
    assert!(console.iter().any(|line| line.contains("Content Security Policy")), "{console:?}");
}
