//! `report --html`: one self-contained page about a run and the history around it.
//!
//! What it says comes from the run's journal, `report.json`, stored plans and log, and from history; `facts` gathers that,
//! `timeline` and `figures` work it out, and the template lays it out and escapes every word of it.

mod facts;
mod figures;
mod plot;
mod timeline;

pub use facts::Facts;

use minijinja::{Environment, context};
use serde::Serialize;

/// The template; its name makes minijinja escape whatever is put into it.
const NAME: &str = "page.html";
const TEMPLATE: &str = include_str!("page.html");

/// The whole page.
#[derive(Debug, Serialize)]
pub struct Page {
    run: facts::Run,
    timeline: timeline::Timeline,
    figures: figures::Figures,
}

impl Page {
    /// The page that these facts make.
    pub fn of(facts: Facts) -> Self {
        Self {
            timeline: timeline::Timeline::of(&facts),
            figures: figures::Figures::of(&facts),
            run: facts.run,
        }
    }

    /// The page as HTML.
    ///
    /// # Errors
    /// When the template is broken; a mistake of ours.
    pub fn html(&self) -> Result<String, minijinja::Error> {
        let mut templates = Environment::new();
        templates.add_template(NAME, TEMPLATE)?;
        templates.get_template(NAME)?.render(context! { page => self })
    }
}
