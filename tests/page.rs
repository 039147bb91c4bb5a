//! The page about a run: what it says, that nothing in it can be injected, and what a real browser makes of it.

#![allow(missing_docs, clippy::unwrap_used)]

use std::process::{Command, Stdio};

use serde_json::json;
use support::{Project, skipped};

#[path = "support/mod.rs"]
mod support;

/// A project with two targets, one of which takes long to build, and a past with ups and downs.
fn project() -> Project {
    let project = Project::new();
    project.edit(|json| {
        let target = |dir: &str, build: &str| {
            json!({"type": "static-site", "config": {"source": "public", "dir": dir, "build": ["sh", "-c", build]}})
        };
        // The second begins when the first has ended, however busy the machine is.
        let long = "until rm built 2>/dev/null; do sleep 0.05; done; sleep 0.6";
        json["targets"] = json!({"docs": target("www", "touch built"), "blog": target("blog", long)});
    });
    project
}

fn deploy(project: &Project, version: &str) {
    project.write("public/index.html", &format!("<h1>{version}</h1>"));
    project.must(&["execute", "--yes", "--all", "--version", version]);
}

fn page(project: &Project) -> String {
    project.must(&["report", "--html", "--output", "-"]).stdout
}

#[test]
fn the_page_tells_who_waited_what_changed_and_how_it_went() {
    let project = project();
    deploy(&project, "1.0");
    project.write("public/new.html", "<p>new</p>");
    deploy(&project, "1.1");
    let html = page(&project);
    assert!(html.contains("docs waited ") && html.contains(" for blog ("), "the barrier: {html}");
    assert!(html.contains("<b>+</b>new.html") && html.contains("<b>~</b>index.html"), "the plan");
    assert!(html.contains("1.0 → 1.1") && html.contains("<strong>2.0</strong>deployments a week"), "{html}");
    assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("src="), "no network");
    assert!(html.contains("run ends: succeeded"), "the log");

    project.hook("post_verify", "echo not good enough; exit 7");
    project.write("public/index.html", "<h1>1.2</h1>");
    project.run(&["execute", "--yes", "--all", "--version", "1.2"]);
    let html = page(&project);
    assert!(html.contains("failed and rolled back") && html.contains("exit code 7"), "{html}");
    assert!(html.contains("Taken back") && html.contains("bar undo"), "{html}");
    assert!(html.contains("<strong>33 %</strong>"), "one of three changes went back: {html}");

    let first = project.history().last().unwrap()["deployment_id"].as_str().unwrap().to_owned();
    let said = project.must(&["report", "--html", &first]);
    assert!(said.stdout.ends_with(&format!("{first}/report.html\n")), "{}", said.stdout);
    assert!(project.read(&format!(".pop-deploy/deployments/{first}/report.html")).contains("handbook 1.0"));
    let slip = format!("{}x", &first[..first.len() - 1]);
    assert_eq!(project.run(&["report", "--html", &slip]).code, Some(2));
}

/// Has the browser show a file; nothing where there is no browser.
fn browser(project: &Project, arguments: &[&str], file: &str) -> Option<String> {
    let program = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|program| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    });
    let Some(program) = program else {
        skipped("no chromium");
        return None;
    };
    let profile = format!("--user-data-dir={}", project.path().join("profile").display());
    let said = Command::new(program)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ])
        .args(["--hide-scrollbars", "--allow-file-access-from-files", "--virtual-time-budget=4000", &profile])
        .args(arguments)
        .arg(format!("file://{}", project.path().join(file).display()))
        .env("HOME", project.path())
        .stderr(Stdio::null())
        .output()
        .unwrap();
    assert!(said.status.success(), "{program} failed");
    Some(String::from_utf8(said.stdout).unwrap())
}

#[test]
fn hostile_names_and_logs_stay_text_in_a_real_browser() {
    let project = Project::new();
    let version = r#"1<script>document.title="pwned"</script><img src=x onerror=alert(1)>"#;
    project.edit(|json| {
        let docs = json["targets"]["docs"].take();
        json["targets"] = json!({r#"d"><b id=pwned>"#: docs});
        json["project_name"] = json!("</title><script>document.title='pwned'</script>");
    });
    project.hook(
        "pre_switch",
        "echo '</pre></details><script>document.title=1</script><iframe src=//x></iframe>'",
    );
    project.must(&["execute", "--yes", "--version", version]);
    project.must(&["report", "--html", "--output", "page.html"]);
    let html = project.read("page.html");
    assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("<iframe"), "{html}");
    let Some(dom) = browser(&project, &["--dump-dom"], "page.html") else { return };
    assert!(!dom.contains("<script") && !dom.contains("<img") && !dom.contains("<iframe"), "{dom}");
    assert!(!dom.contains("id=\"pwned\"") && !dom.contains("<title>pwned"), "{dom}");
    assert!(dom.contains("&lt;/pre&gt;&lt;/details&gt;&lt;script&gt;"), "the log shows what was said: {dom}");
}

#[test]
fn a_browser_shows_it_on_a_desk_and_on_a_phone_by_day_and_by_night() {
    let project = project();
    deploy(&project, "1.0");
    deploy(&project, "1.1");
    project.must(&["report", "--html", "--output", "page.html"]);
    // Measures the page at both widths: nothing may stick out, and the bars must have a size.
    let measure = r#"<body><iframe id=f src=page.html style="border:0;height:900px"></iframe><p id=said></p><script>
      f.onload = () => { let said = []; for (const width of [1280, 390]) { f.style.width = width + "px";
        const d = f.contentDocument, bars = [...d.querySelectorAll(".track .bar")];
        const lit = bars.filter(bar => bar.getBoundingClientRect().width >= 3).length;
        said.push(`${width}: ${d.documentElement.scrollWidth} wide, ${lit} of ${bars.length} bars`); }
      document.getElementById("said").textContent = said.join("; "); }</script>"#;
    project.write("measure.html", measure);
    let Some(dom) = browser(&project, &["--dump-dom"], "measure.html") else { return };
    let said = dom.split("id=\"said\">").nth(1).unwrap_or_default().split('<').next().unwrap_or_default();
    let sizes: Vec<&str> = said.split("; ").collect();
    assert!(sizes[0].starts_with("1280: 1280 wide, "), "{dom}");
    assert!(sizes[1].starts_with("390: 390 wide, "), "{said}");
    let bars: Vec<&str> = sizes[0].rsplit(", ").next().unwrap().split(' ').collect();
    assert!(bars[0] == bars[2] && bars[0].parse::<usize>().unwrap() >= 12, "{said}");
    let views: [(&str, &str, &[&str]); 3] = [
        ("light", "1280,1700", &[]),
        ("dark", "1280,1700", &["--blink-settings=preferredColorScheme=0"]),
        ("phone", "500,2600", &[]),
    ];
    for (name, size, more) in views {
        let (size, shot) = (format!("--window-size={size}"), project.path().join(format!("{name}.png")));
        let shot_flag = format!("--screenshot={}", shot.display());
        let arguments: Vec<&str> =
            [size.as_str(), &shot_flag].into_iter().chain(more.iter().copied()).collect();
        browser(&project, &arguments, "page.html");
        let picture = std::fs::read(&shot).unwrap();
        // A blank page of that size is a tenth of this.
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 40_000, "{name}: {} bytes", picture.len());
        if let Some(folder) = std::env::var_os("POP_DEPLOY_SCREENSHOTS") {
            std::fs::copy(&shot, std::path::Path::new(&folder).join(format!("{name}.png"))).unwrap();
        }
    }
}
