//! Keys that nobody reads, and keys that have a new name, found by the schema.
//!
//! A typing mistake must not turn a setting off in silence, yet an unknown key must not stop a
//! proxy: both kinds are told, with what was probably meant.

use schemars::generate::SchemaSettings;
use serde_json::Value as Json;

use super::file::File;
use super::findings::Findings;
use super::written::join;

/// The schema of the file, as editors read it; nothing in it refers elsewhere.
pub(crate) fn schema() -> Json {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<File>()
        .to_value();
    remove_defaults(&mut schema);
    schema
}

/// Removes what the generator takes for defaults: an absent setting serialises as `null`.
fn remove_defaults(schema: &mut Json) {
    match schema {
        Json::Object(parts) => {
            parts.retain(|key, part| key != "default" || !(part.is_null() || part.is_object()));
            parts.values_mut().for_each(remove_defaults);
        }
        Json::Array(parts) => parts.iter_mut().for_each(remove_defaults),
        _ => {}
    }
}

/// Finds the keys in the file that the schema does not know or calls deprecated.
pub(super) fn find_keys(file: &Json, findings: &mut Findings) {
    let schema = schema();
    Walk {
        root: &schema,
        findings,
    }
    .visit(file, &[&schema], String::new());
}

struct Walk<'a> {
    root: &'a Json,
    findings: &'a mut Findings,
}

impl Walk<'_> {
    /// Visits what stands at `path`, which has one of these schemas.
    fn visit(&mut self, json: &Json, schemas: &[&Json], path: String) {
        match json {
            Json::Object(section) => {
                let known: Vec<_> = properties(schemas);
                // Where no section belongs, its keys are not what is wrong.
                for (key, item) in section.iter().filter(|_| !known.is_empty()) {
                    self.visit_key(key, item, &known, &path);
                }
            }
            Json::Array(items) => {
                let schemas = variants(schemas);
                let of_items: Vec<_> = schemas.iter().filter_map(|s| s.get("items")).collect();
                for (index, item) in items.iter().enumerate() {
                    self.visit(item, &of_items, format!("{path}[{index}]"));
                }
            }
            _ => {}
        }
    }

    fn visit_key(&mut self, key: &str, item: &Json, known: &[(&str, &Json)], section: &str) {
        let path = join(section, key);
        let Some((_, schema)) = known.iter().find(|(name, _)| *name == key) else {
            let meant = suggest(key, known, self.root)
                .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
            return self
                .findings
                .key(path, format_args!("this key is unknown{meant}"));
        };
        if let Some(instead) = schema.get("x-instead").and_then(Json::as_str) {
            let text = format_args!("this key is deprecated, use `{instead}`");
            self.findings.key(path.clone(), text);
        }
        self.visit(item, &[schema], path);
    }
}

/// What was probably meant: a key of the same section that looks alike, the same key elsewhere, or
/// a deprecated one that looks alike.
fn suggest(key: &str, known: &[(&str, &Json)], root: &Json) -> Option<String> {
    let elsewhere = || {
        let mut paths = paths(root).into_iter();
        paths.find(|path| path.rsplit('.').next() == Some(key))
    };
    let (old, new): (Vec<_>, Vec<_>) = known
        .iter()
        .partition(|(_, schema)| schema.get("deprecated").is_some());
    alike(key, &new)
        .or_else(elsewhere)
        .or_else(|| alike(key, &old))
}

/// The one of these keys that differs least, if that is little enough for a slip.
fn alike(key: &str, among: &[(&str, &Json)]) -> Option<String> {
    let lower = key.to_ascii_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&lower, &name.to_ascii_lowercase());
    among
        .iter()
        .map(|(name, _)| (distance(name), name))
        .min()
        .filter(|(distance, name)| *distance <= name.len() / 3)
        .map(|(_, name)| (*name).to_owned())
}

/// The paths of all keys, outer ones first; `[]` stands for any index.
pub(super) fn paths(root: &Json) -> Vec<String> {
    let mut paths = Vec::new();
    let mut level = vec![(String::new(), root)];
    while !level.is_empty() {
        level = level
            .iter()
            .flat_map(|(path, schema)| below(path, schema))
            .collect();
        let keys = level.iter().map(|(path, _)| path);
        paths.extend(keys.filter(|path| !path.ends_with("[]")).cloned());
    }
    paths
}

/// The schemas one step below this one, with their paths.
fn below<'a>(path: &str, schema: &'a Json) -> Vec<(String, &'a Json)> {
    let here = variants(&[schema]);
    let items = here.iter().filter_map(|schema| schema.get("items"));
    let keys = properties(&here).into_iter();
    items
        .map(|items| (format!("{path}[]"), items))
        .chain(keys.map(|(key, schema)| (join(path, key), schema)))
        .collect()
}

/// The keys that these schemas know.
fn properties<'a>(schemas: &[&'a Json]) -> Vec<(&'a str, &'a Json)> {
    let objects = variants(schemas).into_iter();
    objects
        .filter_map(|schema| schema.get("properties")?.as_object())
        .flatten()
        .map(|(key, schema)| (key.as_str(), schema))
        .collect()
}

/// These schemas with all their alternatives.
fn variants<'a>(schemas: &[&'a Json]) -> Vec<&'a Json> {
    let inner = |schema: &&'a Json| {
        let alternatives = schema.get("anyOf").and_then(Json::as_array);
        let alternatives: Vec<_> = alternatives.into_iter().flatten().collect();
        variants(&alternatives)
    };
    schemas
        .iter()
        .copied()
        .chain(schemas.iter().flat_map(inner))
        .collect()
}

#[cfg(test)]
mod tests;
