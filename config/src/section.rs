//! Reading one section: its keys are known, its values have types, and what is wrong is noted and passed over.
//!
//! A getter answers `None` after it noted a mistake (or for a key that is absent and may be), so a section reads all
//! of its keys before it gives up.

use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::mistake::{self, Mistake, Show, listed, nearest, quoted};

/// A range of bytes of the file.
pub(crate) type Span = Range<usize>;

/// A value that could be read, and where it stands.
pub(crate) type Found<T> = (T, Span);

/// Why a text is not a value of its type.
pub(crate) struct Wrong {
    pub(crate) what: String,
    pub(crate) hint: Option<String>,
}

impl Wrong {
    pub(crate) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: Some(hint.into()),
        }
    }
}

/// The file and what is wrong with it so far.
pub(crate) struct Walk<'t> {
    text: &'t str,
    /// The syntax is broken somewhere: what seems to be missing may stand in the broken part.
    is_partial: bool,
    found: Vec<(Span, Mistake)>,
}

impl<'t> Walk<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self {
            text,
            is_partial: false,
            found: Vec::new(),
        }
    }

    /// Notes a mistake.
    pub(crate) fn say(&mut self, span: &Span, show: Show, what: String, hint: Option<String>) {
        self.found.push((
            span.clone(),
            mistake::at(self.text, span.clone(), show, what, hint),
        ));
    }

    /// Notes what is wrong about the value at `span`.
    pub(crate) fn wrong(&mut self, span: &Span, wrong: Wrong) {
        self.say(span, Show::Line, wrong.what, wrong.hint);
    }

    /// Notes that something is absent, unless it may stand in a part that could not be parsed.
    pub(crate) fn absent(&mut self, span: &Span, what: String, hint: Option<String>) {
        if !self.is_partial {
            self.say(span, Show::Line, what, hint);
        }
    }

    /// Notes what the parser said. From here on only the lines that it did understand are judged.
    pub(crate) fn syntax(&mut self, errors: &[toml::de::Error]) {
        for error in errors {
            let end = self.text.len();
            let what = match error.message() {
                "duplicate key" => "this key occurs twice".to_owned(),
                message => format!("not TOML: {message}"),
            };
            self.say(&error.span().unwrap_or(end..end), Show::Line, what, None);
        }
        self.is_partial |= !errors.is_empty();
    }

    /// The line of a place, for messages that point at another one.
    pub(crate) fn line_of(&self, span: &Span) -> u32 {
        mistake::at(self.text, span.clone(), Show::Nothing, String::new(), None).line
    }

    /// All mistakes in file order; on a line that is not TOML only the parser's word counts.
    pub(crate) fn finish(mut self, syntax_count: usize) -> Vec<Mistake> {
        let judged = self.found.split_off(syntax_count);
        let broken: Vec<u32> = self.found.iter().map(|(_, mistake)| mistake.line).collect();
        self.found.dedup_by_key(|(_, mistake)| mistake.line); // the parser trips over one slip several times
        for (span, mistake) in judged {
            // The parser fills a hole with a value of its own, which has no place in the file.
            let is_filling = self.is_partial && span.is_empty();
            if !is_filling && !broken.contains(&mistake.line) {
                self.found.push((span, mistake));
            }
        }
        self.found.sort_by_key(|(span, _)| span.start);
        self.found.into_iter().map(|(_, mistake)| mistake).collect()
    }
}

/// One table of the file whose keys are known.
pub(crate) struct Section<'a, 't> {
    /// How messages call it, `[[target]]`.
    pub(crate) title: &'static str,
    /// Where it is written.
    pub(crate) span: Span,
    /// Its values may be secrets and are never shown.
    is_secret: bool,
    table: &'a DeTable<'t>,
}

impl<'a, 't> Section<'a, 't> {
    /// A table with these keys; others are noted.
    pub(crate) fn of(
        walk: &mut Walk<'_>,
        title: &'static str,
        span: Span,
        table: &'a DeTable<'t>,
        keys: &[&'static str],
    ) -> Self {
        for key in table.keys().filter(|key| !keys.contains(&key.get_ref().as_ref())) {
            let typed = key.get_ref().as_ref();
            let hint = match (
                nearest(typed, keys.iter().copied()),
                crate::sections::home_of(typed),
            ) {
                (Some(meant), _) => format!("did you mean `{meant}`?"),
                (None, Some(home)) => format!("`{typed}` belongs in {home}"),
                (None, None) => format!("{title} knows {}", listed(keys.iter().copied(), "and")),
            };
            walk.say(
                &key.span(),
                Show::Key,
                format!("unknown key {} in {title}", quoted(typed)),
                Some(hint),
            );
        }
        Self {
            title,
            span,
            is_secret: false,
            table,
        }
    }

    /// The same section, with values that no message may show.
    pub(crate) fn secret(self) -> Self {
        Self {
            is_secret: true,
            ..self
        }
    }

    fn show(&self) -> Show {
        if self.is_secret { Show::Nothing } else { Show::Line }
    }

    /// The raw value of a key.
    pub(crate) fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'t>>> {
        self.table.get(key)
    }

    /// Notes that a key is required but absent.
    pub(crate) fn missing(&self, walk: &mut Walk<'_>, key: &str, example: &str) {
        let what = format!("{} has no `{key}`", self.title);
        if self.is_secret && !walk.is_partial {
            walk.say(
                &self.span,
                Show::Nothing,
                what,
                Some(format!("add `{key} = {example}`")),
            );
        } else {
            walk.absent(&self.span, what, Some(format!("add `{key} = {example}`")));
        }
    }

    fn wrong_type(&self, walk: &mut Walk<'_>, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let what = format!("`{key}` must be {wanted}, but is {}", type_of(value.get_ref()));
        walk.say(&value.span(), self.show(), what, None);
    }

    /// A text that is not empty and has no control characters.
    pub(crate) fn text(&self, walk: &mut Walk<'_>, key: &str) -> Option<Found<&'a str>> {
        let value = self.value(key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(walk, key, value, "a text in quotes");
            return None;
        };
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            let what = if text.trim().is_empty() {
                "is empty"
            } else {
                "holds a control character"
            };
            walk.say(&value.span(), self.show(), format!("`{key}` {what}"), None);
            return None;
        }
        Some((text, value.span()))
    }

    /// A text that must be there.
    pub(crate) fn needed_text(
        &self,
        walk: &mut Walk<'_>,
        key: &str,
        example: &str,
    ) -> Option<Found<&'a str>> {
        if self.value(key).is_none() {
            self.missing(walk, key, example);
        }
        self.text(walk, key)
    }

    /// A text that `read` makes a value of.
    pub(crate) fn parsed<T>(
        &self,
        walk: &mut Walk<'_>,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<Found<T>> {
        let (text, span) = self.text(walk, key)?;
        match read(text) {
            Ok(value) => Some((value, span)),
            Err(wrong) => {
                walk.say(&span, self.show(), wrong.what, wrong.hint);
                None
            }
        }
    }

    /// A text that must be there and that `read` makes a value of.
    pub(crate) fn needed<T>(
        &self,
        walk: &mut Walk<'_>,
        key: &str,
        example: &str,
        read: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<Found<T>> {
        if self.value(key).is_none() {
            self.missing(walk, key, example);
        }
        self.parsed(walk, key, read)
    }

    /// A whole number within bounds.
    pub(crate) fn number(
        &self,
        walk: &mut Walk<'_>,
        key: &str,
        bounds: RangeInclusive<u32>,
        default: u32,
    ) -> u32 {
        self.bounded(walk, key, bounds, &default.to_string())
            .unwrap_or(default)
    }

    /// A whole number within bounds, if there is one; `default` is said in hints only.
    pub(crate) fn bounded(
        &self,
        walk: &mut Walk<'_>,
        key: &str,
        bounds: RangeInclusive<u32>,
        default: &str,
    ) -> Option<u32> {
        let value = self.value(key)?;
        let Some(integer) = value.get_ref().as_integer() else {
            self.wrong_type(walk, key, value, "a whole number without quotes");
            return None;
        };
        let number = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| bounds.contains(number));
        if number.is_none() {
            let what = format!("`{key}` is out of range");
            let hint = format!("{} to {}; the default is {default}", bounds.start(), bounds.end());
            walk.say(&value.span(), self.show(), what, Some(hint));
        }
        number
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(
        &self,
        walk: &mut Walk<'_>,
        key: &str,
        words: &[(&'static str, T)],
        default: T,
    ) -> T {
        let read = |text: &str| one_of(key, words, text);
        self.parsed(walk, key, read).map_or(default, |(value, _)| value)
    }

    /// A list of texts; absent is `None`. Elements that are no texts are noted and passed over.
    pub(crate) fn texts(&self, walk: &mut Walk<'_>, key: &str) -> Option<Found<Vec<Found<&'a str>>>> {
        let value = self.value(key)?;
        let Some(list) = value.get_ref().as_array() else {
            self.wrong_type(walk, key, value, "a list of texts, `[\"…\"]`");
            return None;
        };
        let mut texts = Vec::new();
        for element in list.iter() {
            match element.get_ref().as_str() {
                Some(text) if !text.trim().is_empty() && !text.chars().any(char::is_control) => {
                    texts.push((text, element.span()));
                }
                Some(_) => walk.say(
                    &element.span(),
                    self.show(),
                    format!("a text of `{key}` is empty or holds a control character"),
                    None,
                ),
                None => self.wrong_type(walk, key, element, "a list of texts"),
            }
        }
        Some((texts, value.span()))
    }

    /// A list of texts that must be there and not be empty, each made a value of by `read`.
    pub(crate) fn needed_list<T>(
        &self,
        walk: &mut Walk<'_>,
        key: &str,
        example: &str,
        read: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Vec<Found<T>> {
        if self.value(key).is_none() {
            self.missing(walk, key, example);
        }
        let Some((texts, span)) = self.texts(walk, key) else {
            return Vec::new();
        };
        if self
            .value(key)
            .and_then(|value| value.get_ref().as_array())
            .is_some_and(|list| list.iter().next().is_none())
        {
            walk.say(
                &span,
                self.show(),
                format!("`{key}` is empty"),
                Some(format!("for example `{key} = {example}`")),
            );
        }
        let mut values = Vec::new();
        for (text, span) in texts {
            match read(text) {
                Ok(value) => values.push((value, span)),
                Err(wrong) => walk.say(&span, self.show(), wrong.what, wrong.hint),
            }
        }
        values
    }
}

/// The value that a word stands for.
pub(crate) fn one_of<T: Copy>(key: &str, words: &[(&'static str, T)], text: &str) -> Result<T, Wrong> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let all = listed(words.iter().map(|(word, _)| *word), "or");
    let hint = match nearest(text, words.iter().map(|(word, _)| *word)) {
        Some(meant) if words.len() > 1 => format!("did you mean `{meant}`? It can be {all}"),
        _ => format!("it can be {all}"),
    };
    Err(Wrong::new(format!("`{key}` cannot be {}", quoted(text)), hint))
}

/// What a value is, for a person.
fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Values that may be used once, and where they were.
#[derive(Default)]
pub(crate) struct Taken {
    lines: HashMap<String, u32>,
    /// A section's name could not be read, so what seems to be absent may be that one.
    pub(crate) is_partial: bool,
}

impl Taken {
    /// Takes a value, or notes that it is `what` on another line already.
    pub(crate) fn take(&mut self, walk: &mut Walk<'_>, value: &str, span: &Span, what: &str) {
        let line = walk.line_of(span);
        if let Some(first) = self.lines.get(value) {
            walk.say(
                span,
                Show::Line,
                format!("{} is {what} on line {first} already", quoted(value)),
                None,
            );
        } else {
            self.lines.insert(value.to_owned(), line);
        }
    }

    /// Whether the value was taken.
    pub(crate) fn holds(&self, value: &str) -> bool {
        self.lines.contains_key(value)
    }

    /// What was taken.
    pub(crate) fn values(&self) -> impl Iterator<Item = &str> {
        self.lines.keys().map(String::as_str)
    }
}
