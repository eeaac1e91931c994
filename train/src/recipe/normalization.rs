//! Reads and writes [`super::Recipe::normalization`]: a table, or the string `auto`.

use models::card::Preprocessing;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The string that replaces the table.
pub(super) const AUTO: &str = "auto";

/// The table.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    /// Mean of each channel on the scale 0 to 1: one number for grey images, three for colour.
    #[schemars(inner(range(min = 0, max = 1)))]
    mean: Vec<f32>,
    /// Standard deviation of each channel on the scale 0 to 1.
    #[schemars(schema_with = "above_zero")]
    std: Vec<f32>,
}

fn above_zero(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": { "type": "number", "exclusiveMinimum": 0 } })
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Table(Given),
}

// serde passes a reference to the field itself.
#[allow(clippy::ref_option)]
pub(super) fn serialize<S: Serializer>(given: &Option<Preprocessing>, to: S) -> Result<S::Ok, S::Error> {
    match given {
        Some(given) => given.serialize(to),
        None => AUTO.serialize(to),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Preprocessing>, D::Error> {
    match Option::<Written>::deserialize(from)? {
        None => Ok(None),
        Some(Written::Text(text)) if text == AUTO => Ok(None),
        Some(Written::Text(text)) => {
            Err(D::Error::custom(format!("normalization '{text}': expected a table or {AUTO}")))
        }
        Some(Written::Table(Given { mean, std })) => Ok(Some(Preprocessing { mean, std })),
    }
}
