//! The boundary from both sides in one process, without `dlopen`: what AddressSanitizer and valgrind look at.

#![allow(clippy::unwrap_used)]

use pop_deploy_abi::abi_stable::library::ROOT_MODULE_LOADER_NAME;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{Described, Foreign, entry, joined, joined_len};
use crate::{
    Error, ErrorKind, Result, Session, Target,
    protocol::{
        Effect, Event, Manifest, Outcome, Phase, Plan, PlanRequest, Receipt, RunRequest, Status, Step, Undo,
        UndoRequest, method,
    },
    testing::{Harness, release},
};

/// A target that does what its config says, the wrong things too.
struct Odd {
    config: OddConfig,
    session: Session,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OddConfig {
    mood: String,
    #[serde(default)]
    repeat: u32,
}

/// A panic payload that panics again when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the payload went off");
    }
}

impl Target for Odd {
    type Config = OddConfig;

    fn manifest() -> Manifest {
        Manifest {
            id: "odd".into(),
            description: "For tests.".into(),
            types: vec!["odd_place".into()],
            capabilities: vec![],
            environment: vec![],
            config: json!(null),
        }
    }

    fn open(config: OddConfig, session: Session) -> Result<Self> {
        if config.mood == "bomb" {
            std::panic::panic_any(Bomb);
        }
        Ok(Self { config, session })
    }

    fn status(&mut self) -> Result<Status> {
        panic!("no status for {}", self.config.mood);
    }

    fn plan(&mut self, _: &PlanRequest) -> Result<Plan> {
        let step = Step::new("say", Phase::Stage, Effect::None, "Saying").data(self.config.repeat);
        Ok(Plan {
            identity: "odd:here".into(),
            fingerprint: "0".into(),
            steps: vec![step],
            ..Plan::default()
        })
    }

    fn run(&mut self, request: &RunRequest) -> Result<Receipt> {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let session = self.session.clone();
                scope.spawn(move || session.progress("saying", thread, 4, "words"));
            }
        });
        self.session.checkpoint()?;
        Ok(Receipt::new(Outcome::Changed, "said").data(&request.step.data))
    }

    fn undo(&mut self, request: &UndoRequest) -> Result<Undo> {
        match request.receipt {
            Some(_) => Ok(Undo::Undone { summary: "unsaid".into() }),
            None => Err(Error::failed("nobody knows").hint("ask around")),
        }
    }
}

const PACKAGE: [&str; 3] = ["1.2.3", "https://example.org", "MIT"];
const MANIFEST: &str = r#"{"id":"odd","description":"For tests.","types":["odd_place"],"config":null}"#;
static EMBEDDED: [u8; joined_len(&PACKAGE, MANIFEST)] = joined(&PACKAGE, MANIFEST);

impl Described for Odd {
    fn embedded() -> &'static [u8] {
        &EMBEDDED
    }
}

fn open(mood: &str) -> Harness {
    Harness::open::<Odd>(std::path::Path::new("/nowhere"), json!({"mood": mood, "repeat": 7})).unwrap()
}

#[test]
fn a_run_goes_there_and_back() {
    let odd = open("good");
    let plan = odd.plan_deploy("r1", "1.0").unwrap();
    let release = release("r1", "1.0");
    let receipts = odd.run_through(&plan, &release, Phase::Stage).unwrap();
    assert_eq!(receipts[0].receipt.data, json!(7));
    assert_eq!(odd.take_events().len(), 4);
    let undone = odd.undo_from(&plan, &release, Phase::Stage, &receipts).unwrap();
    assert_eq!(undone, [Undo::Undone { summary: "unsaid".into() }]);
    let error = odd.undo_from(&plan, &release, Phase::Stage, &[]).unwrap_err();
    assert_eq!(error, Error::failed("nobody knows").hint("ask around"));
    odd.cancel();
    let error = odd.run_through(&plan, &release, Phase::Stage).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled);
}

#[test]
fn describe_says_what_the_file_says() {
    let build = Foreign::new(entry::<Odd>()).describe().unwrap();
    assert_eq!(build.version, semver::Version::new(1, 2, 3));
    assert!(build.plugin.serves("odd-place"));
    assert!(build.plugin.config["properties"]["mood"].is_object());
}

#[test]
fn a_panic_becomes_an_error_with_message_and_place() {
    let odd = open("sad");
    let error = odd.status().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Panic);
    assert_eq!(error.message, "the plugin panicked: no status for sad");
    assert!(error.causes[0].contains("round_trip.rs"), "{:?}", error.causes);
    odd.plan_deploy("r1", "1.0").expect("the session lives on");
}

#[test]
fn a_payload_that_panics_in_drop_is_forgotten() {
    let opened = Harness::open::<Odd>(std::path::Path::new("/nowhere"), json!({"mood": "bomb"}));
    let error = opened.err().unwrap();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Panic, "the plugin panicked: (no message)"));
}

#[test]
fn an_unknown_key_names_itself_and_the_nearest() {
    let config = json!({"mod": "good"});
    let error = Harness::open::<Odd>(std::path::Path::new("/nowhere"), config).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Config);
    assert_eq!(error.message, "`config.mod`: unknown field `mod`, expected `mood` or `repeat`");
    assert_eq!(error.hint.unwrap(), "did you mean `mood`?");
}

#[test]
fn a_value_of_another_kind_is_told_in_words_of_json_and_where_to_read_on() {
    let told = |config: serde_json::Value| {
        let error = Harness::open::<Odd>(std::path::Path::new("/nowhere"), config).err().unwrap();
        (error.message, error.hint.unwrap())
    };
    let hint = "`pop-deploy plugin info odd` lists the keys, and what they take".to_owned();
    let message = "`config.mood`: an object is there, and a text is expected".to_owned();
    assert_eq!(told(json!({"mood": {}})), (message, hint.clone()));
    let message = "`config.repeat`: boolean `true` is there, and a whole number is expected".to_owned();
    assert_eq!(told(json!({"mood": "good", "repeat": true})), (message, hint));
}

#[test]
fn strange_input_and_strange_methods_are_typed_errors() {
    let odd = open("good");
    let error = odd.call::<Receipt>("teleport", &()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unimplemented);
    for optional in [method::DIAGNOSE, method::LOCKS] {
        assert_eq!(odd.call::<()>(optional, &()).unwrap_err().kind, ErrorKind::Unimplemented);
    }
    let error = odd.call::<Receipt>(method::RUN, &json!({"step": 1})).unwrap_err();
    assert_eq!(error.message, "the host asked something that this plugin can't read");
    let event: Event = serde_json::from_value(json!({"type": "from_the_future", "x": 1})).unwrap();
    assert_eq!(event, Event::Unknown);
}

#[test]
fn the_macro_exports_the_name_that_hosts_look_for() {
    assert_eq!(ROOT_MODULE_LOADER_NAME, "_1as_0lib_1header_0root_bmodule_bloader");
    assert!(include_str!("export.rs").contains(&format!("export_name = \"{ROOT_MODULE_LOADER_NAME}\"")));
}
