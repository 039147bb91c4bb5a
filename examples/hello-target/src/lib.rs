//! A target plugin in one file: every deployment leaves a greeting in a folder, `current.txt` shows the live one.

#![forbid(unsafe_code)]

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use pop_deploy_plugin_api::{
    Error, ErrorKind, IoContext as _, Result, Session, Target, export_target,
    protocol::{
        Change, Check, CheckStatus, Effect, Manifest, Outcome, Phase, Plan, PlanRequest, Receipt, Release,
        RunRequest, Status, Step, Undo, UndoRequest,
    },
    schemars::{self, JsonSchema},
    serde::{self, Deserialize},
    serde_json::{Value, json},
};

/// A folder of greetings.
struct Hello {
    folder: PathBuf,
    greeting: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "self::serde", deny_unknown_fields)]
#[schemars(crate = "self::schemars")]
struct Config {
    /// Where the greetings go. Relative to the project.
    folder: PathBuf,
    /// What to say; the version follows it.
    #[serde(default = "hello")]
    greeting: String,
}

fn hello() -> String {
    "hello from".to_owned()
}

impl Target for Hello {
    type Config = Config;

    fn manifest() -> Manifest {
        Manifest {
            id: "hello".into(),
            description: "Keeps a greeting for every deployment in a folder.".into(),
            types: vec!["hello".into()],
            capabilities: vec![],
            environment: vec![],
            config: Value::Null,
        }
    }

    fn open(config: Config, session: Session) -> Result<Self> {
        Ok(Self { folder: session.project.join(config.folder), greeting: config.greeting })
    }

    fn status(&mut self) -> Result<Status> {
        let live = self.live()?;
        let found = match &live {
            Some(id) => Check::new("greeting", CheckStatus::Pass, format!("`{id}` is shown")),
            None => Check::new("greeting", CheckStatus::Skip, "nothing was deployed yet"),
        };
        Ok(Status { identity: self.identity(), live: live.map(release), checks: vec![found] })
    }

    fn plan(&mut self, request: &PlanRequest) -> Result<Plan> {
        let live = self.live()?;
        let (mut steps, mut changes) = (Vec::new(), Vec::new());
        let mut change = |effect, path: PathBuf| {
            changes.push(Change { effect, what: path.display().to_string(), detail: String::new() });
        };
        let wanted = match request {
            PlanRequest::Deploy { release, .. } => {
                let mut write = Step::new("write", Phase::Stage, Effect::Create, "Writing the greeting");
                write.creates.push(self.file(&release.id).display().to_string());
                steps.push(write);
                change(Effect::Create, self.file(&release.id));
                release
            }
            PlanRequest::Rollback { to, .. } => {
                if !self.file(&to.release.id).is_file() {
                    let message = format!("the greeting `{}` is gone", to.release.id);
                    return Err(Error::new(ErrorKind::NoRelease, message));
                }
                &to.release
            }
        };
        change(Effect::Replace, self.current());
        let show = format!("Showing {}", wanted.version.as_deref().unwrap_or(&wanted.id));
        steps.push(
            Step::new("show", Phase::Switch, Effect::Replace, show)
                .reason("the greeting changes with every deployment")
                .data(json!({"before": live})),
        );
        Ok(Plan {
            identity: self.identity(),
            fingerprint: self.greeting.clone(),
            live: live.map(release),
            steps,
            changes,
            summary: "1 greeting".into(),
            ..Plan::default()
        })
    }

    fn run(&mut self, request: &RunRequest) -> Result<Receipt> {
        let release = &request.release;
        if request.step.id == "write" {
            fs::create_dir_all(&self.folder).at("make", &self.folder)?;
            let file = self.file(&release.id);
            let version = release.version.as_deref().unwrap_or("no version");
            fs::write(&file, format!("{} {version}\n", self.greeting)).at("write", &file)?;
            return Ok(Receipt::new(Outcome::Changed, "1 file written"));
        }
        self.show(&release.id)?;
        Ok(Receipt::new(Outcome::Changed, ""))
    }

    fn undo(&mut self, request: &UndoRequest) -> Result<Undo> {
        let id = &request.release.id;
        if request.step.id == "write" {
            let file = self.file(id);
            if !file.exists() {
                return Ok(Undo::Nothing);
            }
            fs::remove_file(&file).at("remove", &file)?;
            return Ok(Undo::Undone { summary: "the greeting is removed".into() });
        }
        if self.live()?.as_ref() != Some(id) {
            return Ok(Undo::Nothing);
        }
        match request.step.data["before"].as_str() {
            Some(before) => self.show(before)?,
            None => fs::remove_file(self.current()).at("remove", &self.current())?,
        }
        Ok(Undo::Undone { summary: "the greeting before it is shown".into() })
    }
}

impl Hello {
    fn identity(&self) -> String {
        format!("hello:{}", self.folder.display())
    }

    fn file(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.txt"))
    }

    fn current(&self) -> PathBuf {
        self.folder.join("current.txt")
    }

    /// The release that `current.txt` leads to.
    fn live(&self) -> Result<Option<String>> {
        match fs::read_link(self.current()) {
            Ok(target) => Ok(target.file_stem().map(|id| id.to_string_lossy().into_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("read", &self.current()),
        }
    }

    /// One rename: a reader sees the greeting before or this one, never neither.
    fn show(&self, id: &str) -> Result<()> {
        let new = self.folder.join(".current.new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).at("remove", &new);
            }
            _ => symlink(format!("{id}.txt"), &new).at("make", &new)?,
        }
        fs::rename(&new, self.current()).at("replace", &self.current())
    }
}

fn release(id: String) -> Release {
    Release { id, version: None, commit: None }
}

export_target!(Hello);

#[cfg(test)]
mod tests {
    use pop_deploy_plugin_api::testing::{self, Harness};

    use super::*;

    #[test]
    fn manifest_json_says_what_the_code_says() {
        testing::check_manifest::<Hello>(env!("CARGO_MANIFEST_DIR")).unwrap();
    }

    #[test]
    fn the_second_greeting_is_shown_and_taken_back() {
        let project = tempfile::tempdir().unwrap();
        let hello = Harness::open::<Hello>(project.path(), json!({"folder": "greetings"})).unwrap();
        let shown = || fs::read_to_string(project.path().join("greetings/current.txt")).unwrap();

        let plan = hello.plan_deploy("r1", "1.0").unwrap();
        hello.run_through(&plan, &testing::release("r1", "1.0"), Phase::Finalize).unwrap();
        assert_eq!(shown(), "hello from 1.0\n");

        let (plan, second) = (hello.plan_deploy("r2", "2.0").unwrap(), testing::release("r2", "2.0"));
        let receipts = hello.run_through(&plan, &second, Phase::Finalize).unwrap();
        assert_eq!(shown(), "hello from 2.0\n");

        hello.undo_from(&plan, &second, Phase::Finalize, &receipts).unwrap();
        assert_eq!(shown(), "hello from 1.0\n");
        let again = hello.undo_from(&plan, &second, Phase::Finalize, &receipts).unwrap();
        assert_eq!(again, [Undo::Nothing, Undo::Nothing]);
    }
}
