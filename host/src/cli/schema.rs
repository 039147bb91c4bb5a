//! `schema`: the JSON Schema of deploy.json, with the config of every installed plugin.

use super::{args::Place, plugin::known_at, print_line};
use crate::{exit::Exit, failure::Failure, plugins::SearchPath, schema};

pub(super) fn schema(place: &Place, plugins: &SearchPath) -> Result<Exit, Failure> {
    print_line!("{:#}", schema::deploy_json(plugins, &known_at(&place.dir)?));
    Ok(Exit::Done)
}
