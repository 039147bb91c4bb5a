//! What a plan looks at before anything is changed, each as a check of its own, so that all failures show at once.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use pop_deploy_plugin_api::{
    Session,
    protocol::{Check, Note},
    words::grouped,
};
use rustix::fs::statvfs;

use crate::{
    app::App,
    build,
    config::{ProxyKind, Run},
    context::Context,
    engine::{Container, Info, Manifest},
    look::Sight,
    runtime,
};

/// Whether the kernel hands over what waits at a socket that is closed to another one of its port.
const MIGRATES: &str = "/proc/sys/net/ipv4/tcp_migrate_req";
/// Less than this free is worth a word.
const LITTLE: u64 = 1 << 30;

/// The engine, and what it runs.
pub(crate) fn engine(app: &App, info: &Info) -> Vec<Check> {
    let platform = info.platform();
    let mut checks = vec![Check::pass(
        "engine",
        format!("docker {} on `{}` answers, {platform}", info.server_version, info.name),
    )];
    let platforms = &app.config.platforms;
    if app.runs() && !platforms.is_empty() && !app.platforms().any(|wanted| wanted.fits(&platform)) {
        checks.push(Check::fail(
            "platform",
            format!("the engine runs {platform}, and the image is for {}", platforms.join(", ")),
            "add the engine's platform to `platforms`, or choose another engine",
        ));
    }
    if build::needs_buildkit(app, &platform) && !info.has_buildkit() {
        checks.push(Check::fail(
            "buildkit",
            "a secret for the build, or another platform than the engine's, needs BuildKit, and docker has no buildx",
            "install docker's plugin buildx",
        ));
    }
    if platforms.len() > 1 {
        checks.push(Check::fail(
            "platforms",
            "building for several platforms at a time pushes while it builds: tags would move before anything was checked",
            "name one platform a target, with a tag of its own; `docker buildx imagetools create` makes one tag of them",
        ));
    }
    checks
}

/// Whether the proxy's reloads turn visitors away.
pub(crate) fn reloads(app: &App, info: &Info) -> Option<Check> {
    let proxy = app.proxy().or_else(|| app.config.service.as_ref()?.proxy.as_ref())?;
    // Caddy closes its old socket with the connections that wait there, and opens another at the same port.
    let goes_on = fs::read_to_string(MIGRATES).is_ok_and(|text| text.trim() == "1");
    (proxy.kind == ProxyKind::Caddy && info.is_here() && !goes_on).then(|| {
        let message = "a reload of Caddy drops the connections that it hasn't accepted yet, now and then one";
        let hint = "have the kernel hand them over: `sysctl net.ipv4.tcp_migrate_req=1`, from Linux 5.14 on";
        Check::warn("proxy", message).hint(hint)
    })
}

/// The room where the engine keeps its images; `None` where that is on another machine.
pub(crate) fn disk(info: &Info) -> Option<Check> {
    let system = statvfs(Path::new(&info.docker_root_dir)).ok().filter(|_| info.is_here())?;
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    let message = format!("{} bytes are free at `{}`", grouped(free), info.docker_root_dir);
    Some(match free {
        0..LITTLE => Check::warn("disk", message),
        _ => Check::pass("disk", message),
    })
}

/// The Dockerfile and the context; without them there is nothing to build.
pub(crate) fn sources(app: &App, session: &Session) -> Vec<Check> {
    let context = session.project.join(&app.config.build_context);
    let dockerfile = session.project.join(&app.config.dockerfile);
    let text = match fs::read_to_string(&dockerfile) {
        Ok(text) => text,
        Err(error) => {
            return vec![Check::fail(
                "dockerfile",
                format!("can't read `{}`: {error}", dockerfile.display()),
                "write one, or correct `dockerfile`",
            )];
        }
    };
    let mut checks = vec![Check::pass("dockerfile", format!("`{}` is there", dockerfile.display()))];
    let secrets = build::secrets(app);
    let args = build::secret_args(&text, secrets.keys());
    if let Some(name) = args.first() {
        checks.push(Check::fail(
            "build_secrets",
            format!("the Dockerfile takes `{name}` as an ARG, which the image's history keeps for everybody to read"),
            format!("mount it where it is needed: RUN --mount=type=secret,id={name}"),
        ));
    }
    let inside = [&context, &dockerfile].iter().all(|path| {
        path.canonicalize()
            .is_ok_and(|path| session.project.canonicalize().is_ok_and(|root| path.starts_with(root)))
    });
    if !inside {
        checks.push(Check::fail(
            "context",
            format!("`{}` isn't a folder within the project", context.display()),
            "correct `build_context`, or the link that leads out",
        ));
        return checks;
    }
    let relative =
        app.config.dockerfile.strip_prefix(&app.config.build_context).unwrap_or(&app.config.dockerfile);
    let data = session.data.strip_prefix(&context).ok();
    let measured = Context::measure(&context, relative, data);
    if measured.as_ref().is_ok_and(|measured| measured.holds_data)
        && let Some(data) = data
    {
        checks.push(Check::warn(
            "context_data",
            format!(
                "pop-deploy's own folder goes along with the context; add `{}` to .dockerignore",
                data.display()
            ),
        ));
    }
    checks.push(match measured {
        Ok(measured) => Check::pass(
            "context",
            format!(
                "{} bytes in {} files are sent to the builder; .dockerignore leaves {} bytes out",
                grouped(measured.bytes),
                grouped(measured.files),
                grouped(measured.left_out)
            ),
        ),
        Err(error) => Check::fail("context", error.to_string(), error.hint.unwrap_or_default()),
    });
    checks
}

/// What the registry said of the tags; what it didn't say goes to the notes.
pub(crate) fn registry(app: &App, answers: &[(String, Manifest)], notes: &mut Vec<Note>) -> Vec<Check> {
    let host = app.repository.host();
    let mut checks = Vec::new();
    let unreachable = answers.iter().find_map(|(_, answer)| match answer {
        Manifest::Unreachable(why) => Some(why),
        _ => None,
    });
    if let Some(why) = unreachable {
        checks.push(Check::fail(
            "registry",
            format!("the registry `{host}` doesn't answer: {why}"),
            "start it, check `registry`, or the way to it",
        ));
        return checks;
    }
    checks.push(Check::pass("registry", format!("`{host}` answers")));
    for (tag, answer) in answers {
        match answer {
            Manifest::Digest(digest) => {
                checks.push(Check::pass(
                    "tag",
                    format!("`{}` stands for {digest} now", app.repository.tagged(tag)),
                ));
            }
            Manifest::Absent => {
                checks.push(Check::pass("tag", format!("`{}` is new", app.repository.tagged(tag))));
            }
            Manifest::Refused(why) => notes.push(Note {
                what: format!("what `{}` stands for now", app.repository.tagged(tag)),
                why: format!("the registry doesn't let us look: {why}"),
            }),
            Manifest::Unreachable(_) => {}
        }
    }
    notes.push(Note {
        what: format!("whether `{}` may be pushed", app.repository),
        why: "registries only tell when it is tried".to_owned(),
    });
    checks
}

/// Who has the names and ports that the container is to have.
pub(crate) fn owners(app: &App, run: &Run, container: &str, sight: &Sight) -> Vec<Check> {
    let (all, old) = (&sight.all, sight.live(app).map(Container::name));
    let mut checks = Vec::new();
    if let Some(taken) = all.iter().find(|it| it.name == container) {
        checks.push(Check::fail(
            "name",
            format!("there is a container `{}` already", taken.name),
            "remove it",
        ));
    }
    if let Some(stranger) = all.iter().find(|it| it.name == app.name && it.app != app.name) {
        checks.push(match app.config.adopt {
            true => {
                Check::pass("owner", format!("`{}`, which no deployment made, is taken over", stranger.name))
            }
            false => Check::fail(
                "owner",
                format!("there is a container `{}` that no deployment made", stranger.name),
                "set `adopt` to have it taken over, or choose another `run.name`",
            ),
        });
    }
    if let Some(proxy) = run.proxy.as_ref().filter(|_| !sight.info.is_here()) {
        checks.push(Check::fail(
            "proxy",
            format!("`{}` is on this machine, and the engine is on another", proxy.file.display()),
            "deploy on the machine that has both, or leave `proxy` out",
        ));
    }
    let fixed = runtime::fixed_ports(run);
    if !fixed.is_empty() && !run.allow_downtime {
        checks.push(Check::fail(
            "downtime",
            "a fixed port can have one container at a time: between the old and the new one nothing is served",
            "set `allow_downtime`, or put a `proxy` in front",
        ));
    }
    for port in fixed {
        let holder = all.iter().find(|it| {
            it.state == "running"
                && it.app != app.name
                && Some(it.name.as_str()) != old
                && it.ports.contains(&format!(":{port}->"))
        });
        let ours = all.iter().any(|it| it.state == "running" && it.ports.contains(&format!(":{port}->")));
        checks.push(match holder {
            Some(holder) => Check::fail(
                "port",
                format!("the port {port} is taken by the container `{}`", holder.name),
                "stop it, or choose another port",
            ),
            None if !ours && sight.info.is_here() && answers(port) => Check::fail(
                "port",
                format!("the port {port} is taken by a program that is no container"),
                "stop it, or choose another port",
            ),
            None => Check::pass("port", format!("nobody else has the port {port}")),
        });
    }
    checks
}

/// Whether something accepts connections at a port of this machine.
fn answers(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok()
}

/// What runs now.
pub(crate) fn live(app: &App, live: Option<&Container>) -> Check {
    match live {
        None => Check::pass("live", format!("nothing of `{}` runs yet", app.name)),
        Some(live) => {
            let version = live.release().and_then(|release| release.version);
            let words = version.map_or_else(String::new, |version| format!(", version {version}"));
            Check::pass("live", format!("`{}` runs{words}", live.name()))
        }
    }
}
