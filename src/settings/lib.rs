//! Settings of an experiment as data. With [`settings!`] a configuration struct, its defaults, its documentation, the help
//! that a form shows, the ranges and their check are one definition, beside the code that uses them.
//!
//! Entry points: [`settings!`] defines, [`Setting`] describes one key, [`find`] and [`help`] look one up by its dotted key.
//! Knows nothing of networks, files or forms.
//!
//! ```
//! settings::settings! {
//!     /// How to train.
//!     #[derive(Clone, Debug)]
//!     pub struct Training {
//!         /// Passes over the training images.
//!         pub epochs: u32 = 10, number(within(1, 100_000); "epochs");
//!         /// Highest learning rate.
//!         pub lr: f32 = 0.1, number(above(0));
//!         /// When the rate falls.
//!         pub fall: String = "late".into(), choice(["early", "late"]);
//!     }
//! }
//!
//! let training = Training { lr: 0.0, ..Training::default() };
//! let error = training.check("train").unwrap_err();
//! assert_eq!(error.to_string(), "train.lr is 0, expected more than 0");
//! assert_eq!(settings::find(Training::SETTINGS, "epochs").unwrap().help(), "Passes over the training images.");
//! ```
#![forbid(unsafe_code)]

use anyhow::{Result, ensure};
use std::fmt;

/// What is known of one key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// The field's name.
    pub key: &'static str,
    /// The field's documentation as the compiler gives it, see [`Setting::help`].
    pub doc: &'static str,
    /// What a number counts: `epochs`; empty where there is nothing to say.
    pub unit: &'static str,
    /// Where a number must lie; none for everything else.
    pub range: Option<Range>,
    /// What a text may be; empty for any.
    pub choices: &'static [&'static str],
    /// The keys of a section.
    pub section: &'static [Setting],
}

impl Setting {
    /// A setting of which nothing is known but its name and documentation.
    pub const fn new(key: &'static str, doc: &'static str) -> Self {
        Self {
            key,
            doc,
            unit: "",
            range: None,
            choices: &[],
            section: &[],
        }
    }

    /// What it means, in a sentence.
    pub fn help(&self) -> &'static str {
        self.doc.trim()
    }
}

/// The setting of a dotted key, such as `search.trials`.
pub fn find(settings: &'static [Setting], key: &str) -> Option<&'static Setting> {
    let found = |key: &str| settings.iter().find(|s| s.key == key);
    match key.split_once('.') {
        Some((head, rest)) => find(found(head)?.section, rest),
        None => found(key),
    }
}

/// What a dotted key means, with what each section on the way means.
pub fn help(settings: &'static [Setting], key: &str) -> String {
    let ends = key.match_indices('.').map(|(at, _)| at).chain([key.len()]);
    let known = ends.filter_map(|end| find(settings, &key[..end]));
    known.map(Setting::help).collect::<Vec<_>>().join(" ")
}

/// Where a number must lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    low: f64,
    high: f64,
    is_above: bool,
    is_below: bool,
}

impl Range {
    /// Every finite number.
    pub const ALL: Self = Self {
        low: f64::NEG_INFINITY,
        high: f64::INFINITY,
        is_above: false,
        is_below: false,
    };

    /// Not less than `low`.
    pub const fn at_least(self, low: f64) -> Self {
        Self { low, ..self }
    }

    /// Not more than `high`.
    pub const fn at_most(self, high: f64) -> Self {
        Self { high, ..self }
    }

    /// More than `low`.
    pub const fn above(self, low: f64) -> Self {
        Self {
            low,
            is_above: true,
            ..self
        }
    }

    /// Less than `high`.
    pub const fn below(self, high: f64) -> Self {
        Self {
            high,
            is_below: true,
            ..self
        }
    }

    /// Both ends included.
    pub const fn within(self, low: f64, high: f64) -> Self {
        self.at_least(low).at_most(high)
    }

    /// Least and most as a field can hold them: an end that is not included is moved inward by a millionth.
    pub fn ends(self) -> [f64; 2] {
        let inward = |is_open: bool| if is_open { 1e-6 } else { 0.0 };
        [self.low + inward(self.is_above), self.high - inward(self.is_below)]
    }

    /// Checks the value of a key.
    ///
    /// # Errors
    /// One line naming the key, its value and what was expected.
    pub fn check(self, key: &str, value: &impl Number) -> Result<()> {
        let Some(v) = value.number() else { return Ok(()) };
        let is_within = v >= self.low && v <= self.high;
        let is_at_end = (self.is_above && v == self.low) || (self.is_below && v == self.high);
        ensure!(
            v.is_finite() && is_within && !is_at_end,
            "{key} is {}, expected {self}",
            value.text()
        );
        Ok(())
    }
}

/// In words: `1 to 16`, `more than 0 and at most 1`.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { low, high, .. } = self;
        let above = if self.is_above { "more than" } else { "at least" };
        let below = if self.is_below { "less than" } else { "at most" };
        match (low.is_finite(), high.is_finite()) {
            (true, true) if !self.is_above && !self.is_below => write!(f, "{low} to {high}"),
            (true, true) => write!(f, "{above} {low} and {below} {high}"),
            (true, false) => write!(f, "{above} {low}"),
            (false, true) => write!(f, "{below} {high}"),
            (false, false) => write!(f, "a number"),
        }
    }
}

/// A value that a range can be checked of; one that is left out passes.
pub trait Number {
    /// The value, if there is one.
    fn number(&self) -> Option<f64>;
    /// As a person writes it.
    fn text(&self) -> String;
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Number for $type {
            fn number(&self) -> Option<f64> {
                Some(*self as f64)
            }

            fn text(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

numbers!(u32, u64, usize, f32, f64);

impl<T: Number> Number for Option<T> {
    fn number(&self) -> Option<f64> {
        self.as_ref().and_then(T::number)
    }

    fn text(&self) -> String {
        self.as_ref().map_or_else(String::new, T::text)
    }
}

/// Defines a configuration struct with `SETTINGS`, `check` and, where every field has a default, `Default`.
///
/// A field ends with what it is: `number(BOUND, …; "unit")` with bounds `within(a, b)`, `at_least(a)`, `at_most(b)`, `above(a)`
/// and `below(b)`; `choice(ARRAY)`; `section`, which is defined with this macro too; or `other`: text, a list, yes or no.
/// `check RULES;` after the struct names a function `fn(&Self, &str) -> Result<()>` for what no single range can say; it is
/// given the dotted key of the struct.
#[macro_export]
macro_rules! settings {
    (
        $(#[$attribute:meta])*
        pub struct $config:ident {
            $(
                $(#[doc = $doc:literal])+
                $(#[serde($($serde:tt)*)])?
                pub $field:ident: $type:ty $(= $default:expr)?, $kind:ident $(($($spec:tt)*))?;
            )+
        }
        $(check $rules:path;)?
    ) => {
        $(#[$attribute])*
        pub struct $config {
            $(
                $(#[doc = $doc])+
                $(#[serde($($serde)*)])?
                pub $field: $type,
            )+
        }

        $crate::settings!(@default $config { $($field $(= $default)?;)+ });

        impl $config {
            /// What is known of its keys.
            pub const SETTINGS: &'static [$crate::Setting] = &[$(
                $crate::settings!(
                    @setting $kind ($($($spec)*)?) $type,
                    $crate::Setting::new(stringify!($field), concat!($($doc),+))
                ),
            )+];

            /// Checks the ranges of its keys and what else must hold; `at` is its own dotted key, empty for the whole file.
            ///
            /// # Errors
            /// One line naming the key, its value and what was expected.
            pub fn check(&self, at: &str) -> $crate::Checked {
                $($crate::settings!(
                    @check $kind ($($($spec)*)?) self.$field,
                    &$crate::dotted(at, stringify!($field))
                );)+
                $($rules(self, at)?;)?
                Ok(())
            }
        }
    };

    (@default $config:ident { $($field:ident = $default:expr;)+ }) => {
        impl Default for $config {
            fn default() -> Self {
                Self { $($field: $default),+ }
            }
        }
    };
    (@default $config:ident $fields:tt) => {};

    (@setting number ($($bound:ident($($limit:expr),+)),* $(; $unit:literal)?) $type:ty, $new:expr) => {
        $crate::Setting {
            $(unit: $unit,)?
            range: Some($crate::Range::ALL$(.$bound($($limit as f64),+))*),
            ..$new
        }
    };
    (@setting choice ($choices:expr) $type:ty, $new:expr) => {
        $crate::Setting { choices: &$choices, ..$new }
    };
    (@setting section () $type:ty, $new:expr) => {
        $crate::Setting { section: <$type>::SETTINGS, ..$new }
    };
    (@setting other () $type:ty, $new:expr) => {
        $new
    };

    (@check number ($($bound:ident($($limit:expr),+)),* $(; $unit:literal)?) $value:expr, $key:expr) => {
        $crate::Range::ALL$(.$bound($($limit as f64),+))*.check($key, &$value)?
    };
    (@check section () $value:expr, $key:expr) => {
        $value.check($key)?
    };
    (@check $kind:ident ($($spec:tt)*) $value:expr, $key:expr) => {};
}

/// What a check says.
pub type Checked = Result<()>;

/// `a.b`, or `b` at the top.
pub fn dotted(at: &str, key: &str) -> String {
    if at.is_empty() {
        key.to_owned()
    } else {
        format!("{at}.{key}")
    }
}

#[cfg(test)]
mod tests {
    #![expect(unreachable_pub, reason = "the macro defines public structs")]

    use super::*;

    settings! {
        /// Inner.
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Inner {
            /// A share
            /// of the whole.
            pub share: f32 = 0.5, number(above(0), at_most(1));
            /// May be left out.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub warmup: Option<u64> = None, number(at_least(2); "steps");
        }
        check has_room;
    }

    fn has_room(inner: &Inner, at: &str) -> Result<()> {
        ensure!(inner.share != 0.25, "{at} has no room");
        Ok(())
    }

    settings! {
        /// Outer; without defaults.
        #[derive(PartialEq)]
        pub struct Outer {
            /// Yes or no.
            pub flag: bool, other;
            /// Among few.
            pub name: String, choice(["a", "b"]);
            /// The rest.
            pub inner: Inner, section;
        }
    }

    #[test]
    fn a_value_out_of_range_is_named_with_its_dotted_key() {
        let of = |inner: Inner| {
            let outer = Outer {
                flag: true,
                name: "a".into(),
                inner,
            };
            outer.check("").map_err(|e| e.to_string())
        };
        let default = Inner::default;
        assert_eq!(of(default()), Ok(()));
        let wrong = Inner {
            share: 0.0,
            ..default()
        };
        assert_eq!(
            of(wrong),
            Err("inner.share is 0, expected more than 0 and at most 1".into())
        );
        let nan = Inner {
            share: f32::NAN,
            ..default()
        };
        assert!(of(nan).is_err());
        let wrong = Inner {
            warmup: Some(1),
            ..default()
        };
        assert_eq!(of(wrong), Err("inner.warmup is 1, expected at least 2".into()));
        let full = Inner {
            share: 0.25,
            ..default()
        };
        assert_eq!(of(full), Err("inner has no room".into()));
    }

    #[test]
    fn a_key_is_found_with_its_help_unit_range_and_choices() {
        let found = |key| find(Outer::SETTINGS, key).expect("known");
        assert_eq!(found("inner.share").help(), "A share of the whole.");
        assert_eq!(
            (found("inner.warmup").unit, found("name").choices),
            ("steps", &["a", "b"][..])
        );
        assert_eq!(found("inner.share").range.map(Range::ends), Some([1e-6, 1.0]));
        assert_eq!(
            (find(Outer::SETTINGS, "inner.x"), find(Outer::SETTINGS, "x.share")),
            (None, None)
        );
        let words = [
            Range::ALL.within(1.0, 16.0),
            Range::ALL.at_least(0.0).below(1.0),
            Range::ALL.at_most(2.0),
        ];
        assert_eq!(
            words.map(|r| r.to_string()),
            ["1 to 16", "at least 0 and less than 1", "at most 2"]
        );
    }
}
