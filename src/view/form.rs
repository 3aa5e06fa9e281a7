//! An experiment as a form: every key of its file with its type, its unit and its meaning, and what was changed of the preset.
//! Keys come from the experiment's own table and what they mean from its definition, so that a new setting is a new field.
//! Knows nothing of widgets.

use anyhow::{Context, Result};
use record::Experiment;
use serde::Serialize;
use settings::Setting;

/// What the form shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FormView {
    /// In the order of the file.
    pub sections: Vec<FormSection>,
    /// Keys that differ from the preset.
    pub changed: usize,
    /// Why the experiment as a whole cannot be run, if it cannot.
    pub problem: Option<String>,
    /// The same experiment as a command.
    pub command: String,
}

/// Keys under one head.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FormSection {
    /// `data`, `model`, `train`, `method` or, for single keys, empty.
    pub title: String,
    /// Its keys.
    pub fields: Vec<FormField>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FormField {
    /// Dotted, as `--set` takes it.
    pub key: String,
    /// Its value.
    pub value: FieldValue,
    /// The preset's value as TOML, where it differs.
    pub preset: Option<String>,
    /// What it means.
    pub help: String,
    /// Its unit, range and choices.
    #[serde(skip)]
    pub setting: Setting,
}

impl FormField {
    /// The key without its section.
    pub fn name(&self) -> &str {
        self.key.split_once('.').map_or(self.key.as_str(), |(_, name)| name)
    }
}

/// A value with its type.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum FieldValue {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Whole(i64),
    /// Any number.
    Number(f64),
    /// Text.
    Text(String),
    /// One of the setting's choices.
    Choice(String),
    /// A list, as TOML.
    List(String),
    /// A key that may be left out, and is.
    Unset,
}

/// Keys that may be left out of the file, with the section they belong to.
const OPTIONAL: [&str; 3] = ["start", "model.dropout", "train.teacher"];

/// The form of a draft that came from a preset (`source`: its name or file).
pub fn form(draft: &Experiment, base: &Experiment, source: &str) -> FormView {
    let (now, before) = (flat(draft), flat(base));
    let mut keys: Vec<&String> = now.iter().map(|(key, _)| key).collect();
    let optional = OPTIONAL.map(String::from);
    keys.extend(optional.iter().filter(|key| now.iter().all(|(k, _)| k != *key)));
    let find = |all: &[(String, toml::Value)], key: &str| all.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone());
    let mut sections: Vec<FormSection> = Vec::new();
    let mut changed = 0;
    for key in keys.into_iter().filter(|k| *k != "schema") {
        let value = find(&now, key);
        let preset = find(&before, key);
        let differs = value != preset;
        changed += usize::from(differs);
        let (setting, help) = draft
            .setting(key)
            .map_or((Setting::new("", ""), String::new()), |(s, help)| (*s, help));
        let field = FormField {
            key: key.clone(),
            value: value.as_ref().map_or(FieldValue::Unset, |v| typed(v, &setting)),
            preset: differs.then(|| preset.map_or_else(|| "not set".into(), |v| v.to_string())),
            help,
            setting,
        };
        let title = key.split_once('.').map_or("", |(section, _)| section);
        match sections.iter_mut().find(|s| s.title == title) {
            Some(section) => section.fields.push(field),
            None => sections.push(FormSection {
                title: title.to_owned(),
                fields: vec![field],
            }),
        }
    }
    FormView {
        sections,
        changed,
        problem: draft.check("").err().map(|e| format!("{e:#}")),
        command: command(draft, base, source),
    }
}

fn flat(experiment: &Experiment) -> Vec<(String, toml::Value)> {
    experiment.flat().unwrap_or_default()
}

fn typed(value: &toml::Value, setting: &Setting) -> FieldValue {
    match value {
        toml::Value::Boolean(b) => FieldValue::Flag(*b),
        toml::Value::Integer(n) => FieldValue::Whole(*n),
        toml::Value::Float(v) => FieldValue::Number(*v),
        toml::Value::String(s) if !setting.choices.is_empty() => FieldValue::Choice(s.clone()),
        toml::Value::String(s) => FieldValue::Text(s.clone()),
        other => FieldValue::List(other.to_string()),
    }
}

impl FieldValue {
    /// As `--set` takes it; none for a key that is left out.
    pub fn to_toml(&self) -> Option<String> {
        match self {
            Self::Flag(b) => Some(b.to_string()),
            Self::Whole(n) => Some(n.to_string()),
            Self::Number(v) => Some(toml::Value::Float(*v).to_string()),
            Self::Text(s) | Self::Choice(s) => Some(toml::Value::String(s.clone()).to_string()),
            Self::List(text) => Some(text.clone()),
            Self::Unset => None,
        }
    }
}

/// The draft with another value for a key.
///
/// # Errors
/// One line: what was expected of the key.
pub fn set(draft: &Experiment, key: &str, value: &FieldValue) -> Result<Experiment> {
    let mut table = toml::Table::try_from(draft)?;
    let Some(text) = value.to_toml() else {
        remove(&mut table, key);
        return Experiment::parse(&table.to_string(), &[]);
    };
    if let ("method.kind", FieldValue::Choice(kind)) = (key, value) {
        return with_method(draft, kind, true);
    }
    Experiment::parse(&table.to_string(), &[(key.to_owned(), text)]).with_context(|| key.to_owned())
}

/// The experiment with another method at its defaults. How much is to go is carried over, where both ask for that.
fn with_method(experiment: &Experiment, kind: &str, keeps_target: bool) -> Result<Experiment> {
    let mut table = toml::Table::try_from(experiment)?;
    let old = table.get("method").and_then(|m| m.get("target")).cloned();
    let mut method = toml::Table::new();
    method.insert("kind".into(), toml::Value::String(kind.to_owned()));
    table.insert("method".into(), toml::Value::Table(method));
    let made = Experiment::parse(&table.to_string(), &[])?;
    match (old, toml::Table::try_from(&made.method)?.contains_key("target")) {
        (Some(target), true) if keeps_target => {
            Experiment::parse(&made.to_toml()?, &[("method.target".into(), target.to_string())])
        }
        _ => Ok(made),
    }
}

fn remove(table: &mut toml::Table, key: &str) {
    match key.split_once('.') {
        None => drop(table.remove(key)),
        Some((head, rest)) => {
            if let Some(toml::Value::Table(inner)) = table.get_mut(head) {
                remove(inner, rest);
            }
        }
    }
}

/// `secateur run PRESET --set KEY=VALUE…`, as a shell takes it.
fn command(draft: &Experiment, base: &Experiment, source: &str) -> String {
    let mut out = format!("secateur run {}", quoted(source));
    let kind = draft.method.kind();
    let mut before = flat(base);
    if kind != base.method.kind() {
        // Other methods have other keys, so the whole section is replaced.
        out += &format!(" --set {}", quoted(&format!("method={{kind=\"{kind}\"}}")));
        before = with_method(base, kind, false).map_or(before, |b| flat(&b));
    }
    for (key, value) in flat(draft).iter().filter(|pair| !before.contains(pair)) {
        out += &format!(" --set {}", quoted(&format!("{key}={value}")));
    }
    out
}

/// Text as one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use methods::Method;

    fn smoke() -> Experiment {
        Experiment::load("smoke", &[]).expect("preset")
    }

    #[test]
    fn a_change_is_marked_and_becomes_a_command() {
        let base = smoke();
        let draft = set(&base, "train.lr", &FieldValue::Number(0.05)).expect("sets");
        let draft = set(&draft, "data.source", &FieldValue::Text("my images".into())).expect("sets");
        let view = form(&draft, &base, "smoke");
        assert_eq!(
            (view.changed, view.command.as_str()),
            (
                2,
                r#"secateur run smoke --set 'data.source="my images"' --set train.lr=0.05"#
            )
        );
        let fields = view.sections.iter().flat_map(|s| &s.fields);
        let lr = fields.clone().find(|f| f.key == "train.lr").expect("there");
        assert_eq!((lr.preset.as_deref(), lr.name()), (Some("0.1"), "lr"));
        assert_eq!(form(&base, &base, "smoke").changed, 0);
    }

    #[test]
    fn a_value_that_is_not_allowed_says_what_was_expected() {
        let error = set(&smoke(), "train.epochs", &FieldValue::Whole(0)).expect_err("not allowed");
        assert!(format!("{error:#}").contains("expected 1 to"), "{error:#}");
        let error = set(&smoke(), "method.grid", &FieldValue::List("[2.0]".into())).expect_err("not allowed");
        assert!(format!("{error:#}").contains("density 2"), "{error:#}");
    }

    #[test]
    fn keys_that_may_be_left_out_can_be_set_and_left_out_again() {
        let set_to = |draft: &Experiment, value: &FieldValue| set(draft, "model.dropout", value).expect("sets");
        let half = set_to(&smoke(), &FieldValue::Number(0.5));
        assert_eq!(half.model.dropout, Some(0.5));
        assert_eq!(set_to(&half, &FieldValue::Unset).model.dropout, None);
        let view = form(&smoke(), &smoke(), "smoke");
        let start = view.sections.iter().flat_map(|s| &s.fields).find(|f| f.key == "start");
        assert_eq!(start.map(|f| &f.value), Some(&FieldValue::Unset));
    }

    #[test]
    fn another_method_brings_its_own_keys_and_the_command_makes_the_same_experiment() {
        let base = smoke();
        for kind in Method::KINDS {
            let draft = set(&base, "method.kind", &FieldValue::Choice(kind.into())).expect(kind);
            assert_eq!(draft.method.kind(), kind);
            let view = form(&draft, &base, "smoke");
            if kind != "fbs" {
                let replaced = format!("--set 'method={{kind=\"{kind}\"}}'");
                assert!(view.command.contains(&replaced), "{}", view.command);
            }
            let sets = view.command.split(" --set ").skip(1).map(|s| {
                let (key, value) = s.trim_matches('\'').split_once('=').expect("a pair");
                (key.to_owned(), value.to_owned())
            });
            let again = Experiment::load("smoke", &sets.collect::<Vec<_>>()).expect(kind);
            assert_eq!(again, draft, "{}", view.command);
        }
    }

    #[test]
    fn every_key_of_every_method_is_explained_and_every_choice_is_known() {
        for kind in Method::KINDS {
            let draft = set(&smoke(), "method.kind", &FieldValue::Choice(kind.into())).expect(kind);
            for field in form(&draft, &draft, "smoke")
                .sections
                .into_iter()
                .flat_map(|s| s.fields)
            {
                assert!(field.help.ends_with('.'), "{}: {}", field.key, field.help);
                let error = || set(&draft, &field.key, &FieldValue::Choice("?".into())).expect_err("not known");
                // Which network it is is known only when it is built.
                if !field.setting.choices.is_empty() && field.key != "model.arch" {
                    let error = format!("{:#}", error());
                    let named = error.split('`').skip(3).step_by(2).collect::<Vec<_>>();
                    assert_eq!(named, field.setting.choices, "{}: {error}", field.key);
                }
            }
        }
    }
}
