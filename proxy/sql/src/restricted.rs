//! CASCADE that may as well be RESTRICT: where nothing that is known goes along, the weaker word says the same, and whatever is
//! not known stays where it is, since the server refuses then.
//! Source: PostgreSQL manual, "Dependency Tracking"; `gram.y` (opt_drop_behavior).

use linegate_policy::{LabelIndex, Name};
use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::DropBehavior;

use crate::parse::{self, plain};
use crate::tokens::words;
use crate::walk::{Walker, names};

const WORD: &str = "CASCADE";
const WEAKER: &str = "RESTRICT";

/// Whether a text says CASCADE, and nothing goes along: it would write the same in any database. `writes`: what it does in that one.
pub(crate) fn takes_nothing(statements: &NodeList, writes: &[Name], index: &LabelIndex) -> bool {
    let mut bare = Walker::new(None, None);
    statements.iter().any(|node| cascades(node) > 0)
        && !statements
            .iter()
            .any(|node| objects(node).iter().any(|name| index.takes_along(name)))
        && statements
            .iter()
            .try_for_each(|node| bare.top_level(node))
            .is_ok()
        && bare.finish().writes == writes
}

/// Objects that a statement drops and that hold no rows: what goes along with them is not among what it writes.
fn objects(node: Node<'_>) -> Vec<Name> {
    let Node::RawStmt(raw) = node else {
        return Vec::new();
    };
    match raw.stmt() {
        Node::DropStmt(drop) if !names::holds_rows(drop.remove_type) => {
            let objects = drop.objects().iter();
            objects
                .flat_map(|object| names::object(drop.remove_type, object))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// The same text with RESTRICT in place of CASCADE; `None` where it cannot be told which words these are.
pub(crate) fn weaker(text: &str, statements: &NodeList) -> Option<String> {
    let words = words(text)?;
    let mut weaker = text.to_owned();
    let mut places = Vec::new();
    for (node, (start, end)) in statements.iter().zip(places_of(text, statements)) {
        let first = words.partition_point(|(at, _)| *at < start);
        let last = words.partition_point(|(at, _)| *at < end);
        places.extend(said(&words[first..last], cascades(node))?);
    }
    for at in places.into_iter().rev() {
        weaker.replace_range(at..at + WORD.len(), WEAKER);
    }
    let tree = parse::parse(&weaker).ok()?;
    let is_weaker = tree.len() == statements.len() && plain(&tree).iter().all(|node| cascades(node) == 0);
    is_weaker.then_some(weaker)
}

/// Where a statement of these words says CASCADE of what it drops, `count` times.
fn said(words: &[(usize, &str)], count: usize) -> Option<Vec<usize>> {
    let is = |place: usize, word: &str| words[place].1.eq_ignore_ascii_case(word);
    // What a foreign key does is said in the same word; and anything may have it for a name.
    let is_action = |place: usize| {
        place >= 2 && is(place - 2, "on") && (is(place - 1, "delete") || is(place - 1, "update"))
    };
    let may_be = |place: &usize| is(*place, WORD) && !is_action(*place);
    let found: Vec<usize> = (0..words.len()).filter(may_be).collect();
    let chosen = match (count, found.as_slice()) {
        (0, _) => &[][..],
        (_, all) if all.len() == count => all,
        (1, [.., last]) if last + 1 == words.len() => std::slice::from_ref(last),
        _ => return None,
    };
    Some(chosen.iter().map(|place| words[*place].0).collect())
}

/// From where to where each statement of a text goes.
fn places_of(text: &str, statements: &NodeList) -> Vec<(usize, usize)> {
    let place = |node: Node<'_>| {
        let Node::RawStmt(raw) = node else {
            return (text.len(), text.len());
        };
        let start = usize::try_from(raw.stmt_location).unwrap_or(0);
        let end = match usize::try_from(raw.stmt_len) {
            Ok(bytes @ 1..) => start + bytes,
            _ => text.len(),
        };
        (start, end)
    };
    statements.iter().map(place).collect()
}

/// How often a statement says that what depends on something goes along.
fn cascades(node: Node<'_>) -> usize {
    const CASCADE: DropBehavior::Type = DropBehavior::DROP_CASCADE;
    let Node::RawStmt(raw) = node else { return 0 };
    let is_cascade = match raw.stmt() {
        Node::DropStmt(drop) => drop.behavior == CASCADE,
        Node::TruncateStmt(truncate) => truncate.behavior == CASCADE,
        Node::AlterTableStmt(alter) => {
            let says = |command: &Node<'_>| matches!(command, Node::AlterTableCmd(command) if command.behavior == CASCADE);
            return alter.cmds().iter().filter(says).count();
        }
        _ => false,
    };
    usize::from(is_cascade)
}

#[cfg(test)]
mod tests {
    use linegate_policy::{Catalog, LabelIndex};

    use crate::read_with;

    fn weaker(text: &str) -> Option<String> {
        let (index, _) = LabelIndex::resolve(&Catalog::default(), &[]);
        read_with(text.as_bytes(), Some(&index)).leads.weaker
    }

    #[test]
    fn only_the_last_word_of_one_statement_is_another() {
        for (text, expected) in [
            ("DROP TABLE a CASCADE", Some("DROP TABLE a RESTRICT")),
            (
                "drop view a, cascade\n cascade ; \t;",
                Some("drop view a, cascade\n RESTRICT ; \t;"),
            ),
            ("TRUNCATE a, b CASCADE;", Some("TRUNCATE a, b RESTRICT;")),
            (
                "ALTER TABLE a DROP COLUMN cascade CASCADE",
                Some("ALTER TABLE a DROP COLUMN cascade RESTRICT"),
            ),
            (
                "ALTER TABLE a DROP CONSTRAINT \"CASCADE\" CASCADE",
                Some("ALTER TABLE a DROP CONSTRAINT \"CASCADE\" RESTRICT"),
            ),
            ("DROP TABLE a/* é */CASCADE", Some("DROP TABLE a/* é */RESTRICT")),
            (
                "DROP TABLE a CASCADE ;SELECT 1; DROP TABLE b CASCADE",
                Some("DROP TABLE a RESTRICT ;SELECT 1; DROP TABLE b RESTRICT"),
            ),
            (
                "CREATE TABLE a (b int REFERENCES c ON DELETE CASCADE); TRUNCATE d CASCADE",
                Some("CREATE TABLE a (b int REFERENCES c ON DELETE CASCADE); TRUNCATE d RESTRICT"),
            ),
            (
                "DROP TABLE a CASCADE -- b\n; DROP TABLE b CASCADE",
                Some("DROP TABLE a RESTRICT -- b\n; DROP TABLE b RESTRICT"),
            ),
            ("DROP TABLE a", None),
            ("DROP TABLE cascade", None),
            ("DROP TABLE \"CASCADE\"", None),
            ("ALTER TABLE a DROP COLUMN cascade", None),
            (
                "DROP TABLE a CASCADE -- CASCADE",
                Some("DROP TABLE a RESTRICT -- CASCADE"),
            ),
            (
                "DROP TABLE a CASCADE /* b='1' */",
                Some("DROP TABLE a RESTRICT /* b='1' */"),
            ),
            (
                "ALTER TABLE cascade DROP COLUMN b CASCADE, DROP COLUMN c CASCADE",
                None,
            ),
            (
                "ALTER TABLE a DROP COLUMN b CASCADE, ADD FOREIGN KEY (c) REFERENCES d ON DELETE CASCADE",
                Some(
                    "ALTER TABLE a DROP COLUMN b RESTRICT, ADD FOREIGN KEY (c) REFERENCES d ON DELETE CASCADE",
                ),
            ),
            (
                "ALTER TABLE a DROP COLUMN b CASCADE, DROP COLUMN c CASCADE",
                Some("ALTER TABLE a DROP COLUMN b RESTRICT, DROP COLUMN c RESTRICT"),
            ),
            ("CREATE TABLE a (b int REFERENCES c ON DELETE CASCADE)", None),
            (
                "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES c ON DELETE CASCADE",
                None,
            ),
            ("SELECT 1 AS CASCADE", None),
        ] {
            assert_eq!(weaker(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn where_the_words_cannot_be_told_apart_that_is_said() {
        let (index, _) = LabelIndex::resolve(&Catalog::default(), &[]);
        let unseen = |text: &str| read_with(text.as_bytes(), Some(&index)).leads.takes_unseen;
        assert!(unseen(
            "ALTER TABLE cascade DROP COLUMN b CASCADE, DROP COLUMN c CASCADE"
        ));
        assert!(unseen(
            "ALTER TABLE a DROP COLUMN b CASCADE, ALTER COLUMN c SET DEFAULT E'd'\n'e'"
        ));
        assert!(!unseen("DROP TABLE a CASCADE") && !unseen("DROP TABLE a") && !unseen("SELECT 1"));
    }

    #[test]
    fn without_a_catalog_it_is_not_known_what_goes_along() {
        assert_eq!(crate::read(b"DROP TABLE a CASCADE").leads.weaker, None);
    }
}
