//! Views and functions of the catalog.

use super::check;

#[test]
fn views_carry_what_their_columns_hold() {
    check(&[
        (
            "SELECT contact, tel FROM app.customer_contact",
            "=customer_contact.contact =customer_contact.tel",
        ),
        ("SELECT id, name FROM app.customer_contact", "- -"),
        (
            "SELECT upper(contact) FROM app.customer_contact",
            "~customer_contact.contact",
        ),
        ("SELECT * FROM app.order_report ORDER BY name LIMIT 7", "?"),
        (
            "SELECT id, label FROM app.customer_label",
            "- =customer_label.label",
        ),
        (
            "SELECT ref FROM app.customer_dir WHERE ref = $1",
            "=customer_dir.ref | lookup customer_dir.ref",
        ),
        ("SELECT c FROM app.contact_again", "=contact_again.c"),
        (
            "SELECT c.c FROM app.contact_again AS c(c) WHERE c.c LIKE 'x'",
            "=contact_again.c | probe contact_again.c",
        ),
        ("SELECT mail FROM app.by_function", "=by_function.mail"),
        ("SELECT doc FROM app.by_code", "- | unknown"),
        ("SELECT doc FROM app.over_code", "- | unknown"),
        (
            "SELECT profile->>'plan', profile->>'tax_id' FROM app.customer_all",
            "- ~customer_all.profile",
        ),
        (
            "INSERT INTO app.customer_contact (id, contact) SELECT id, email FROM app.customers",
            "?",
        ),
        (
            "INSERT INTO app.customer_contact (id, name) SELECT id, email FROM app.customers",
            "? | moved email",
        ),
    ]);
}

#[test]
fn functions_show_what_their_queries_show() {
    check(&[
        ("SELECT app.customer_email(3)", "~email"),
        ("SELECT app.phone_of(3)", "~phone"),
        ("SELECT app.twice(id), ssn FROM app.customers", "- =ssn"),
        (
            "SELECT id FROM app.find_customers('a%')",
            "~email+ssn+card_number+phone+profile",
        ),
        ("SELECT app.guess('1%')", "- | probe ssn"),
        ("SELECT app.order_total(3)", "?"),
        ("SELECT app.order_total(id), ssn FROM app.customers", "- =ssn"),
        ("SELECT app.spent_by(id), ssn FROM app.customers", "- =ssn"),
        (
            "SELECT app.order_total(length(ssn)) FROM app.customers",
            "~ssn | exposed ssn",
        ),
        ("SELECT app.customer_doc(1), id FROM app.customers", "- -"),
        (
            "SELECT app.customer_doc(ssn) FROM app.customers",
            "~ssn | exposed ssn",
        ),
        (
            "SELECT elsewhere.f(ssn) FROM app.customers",
            "~ssn | probe ssn | exposed ssn",
        ),
    ]);
    let index = super::index();
    let name = |name: &str| linegate_policy::Name {
        schema: Some("app".to_owned()),
        name: name.to_owned(),
    };
    for known in [
        "phone_of",
        "twice",
        "customer_email",
        "find_customers",
        "order_total",
        "spent_by",
    ] {
        assert!(index.knows_function(&name(known)), "{known}");
    }
    for opaque in ["bump", "customer_doc", "nothing"] {
        assert!(!index.knows_function(&name(opaque)), "{opaque}");
    }
    let statement = crate::read_with(b"SELECT app.order_total(3)", Some(&index));
    assert_eq!(
        statement.reads,
        [name("orders")],
        "what the function reads is read"
    );
}
