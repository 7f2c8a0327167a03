"""Compares what a server did with what linegate read, and sorts what differs into kinds.

A relation is *named* when the reading has its name among `reads` or `writes`, and *reached* when the catalog leads from a named
one to it: through a view's query, to a partition, a child or a parent. A kind in SERIOUS means that the server touched something
that policy was not told of. Every other kind must have its reason in `known`."""

import dataclasses

OURS_FROM = 16384  # FirstNormalObjectId

SERIOUS = {
    "relation not named",
    "effect not named",
    "written relation not named",
    "made relation not named",
    "dropped relation not named",
    "catalog changed without an effect",
    "sensitive catalog not named",
}

# Tables of pg_catalog that hold values, secrets or other sessions' texts, by their fixed OIDs.
SENSITIVE = {1260: "pg_authid", 2619: "pg_statistic", 2613: "pg_largeobject", 1418: "pg_user_mapping", 1417: "pg_foreign_server",
             6100: "pg_subscription", 3429: "pg_statistic_ext_data"}

DEFINITIONS = {"create", "alter", "drop", "grant", "truncate", "maintenance", "server", "replication", "role"}
OF_INSERT = {"insert", "copy-in", "update", "create", "maintenance", "server"}
OF_UPDATE = {"update", "maintenance"}
OF_DELETE = {"delete", "update", "maintenance"}
# Catalogs whose rows only some classes may change; all others belong to any of DEFINITIONS.
OF_CATALOG = {
    "pg_authid": {"role", "server"},
    "pg_auth_members": {"role", "grant", "server"},
    "pg_db_role_setting": {"role", "server", "drop"},
    "pg_database": {"server", "grant", "alter", "role"},
    "pg_tablespace": {"server", "grant", "alter"},
    "pg_subscription": {"replication", "alter", "grant"},
    "pg_publication": {"replication", "alter", "drop", "grant"},
}
NOT_NOW = {"execute", "call", "unreadable", "function-call", "server", "replication"}
SEQUENCE_FUNCTIONS = {"nextval", "currval", "setval", "lastval"}
# Functions that look at a relation's definition or size, and lock it for that.
LOOKS = ("satisfies_hash_partition", "pg_get_", "pg_partition_", "pg_relation_size", "pg_total_relation_size", "pg_table_size", "pg_indexes_size")
SHARED = {"AccessShareLock", "RowShareLock"}
OF_ROWS = set("rvmfpS")


@dataclasses.dataclass
class Relation:
    oid: int
    schema: str
    name: str
    kind: str
    of: int | None
    file: int

    def __str__(self):
        return f"{self.schema}.{self.name} ({self.kind})"


@dataclasses.dataclass
class Finding:
    name: str
    relation: str
    what: str

    @property
    def is_serious(self):
        return self.name in SERIOUS


class Seen:
    """What one statement did."""

    def __init__(self, text, locks, changed, own):
        self.text, self.locks, self.changed, self.own = text, locks, changed, own
        self.now, self.then = {}, {}
        self.foreign_keys, self.foreign_keys_now, self.row_policies, self.inherits = set(), set(), set(), set()

    def sensitive(self):
        return [oid for oid, _ in self.locks if oid in SENSITIVE]

    def owners(self, oid):
        """The relation as it was and is; for an index, a TOAST table or an owned sequence, what it belongs to as well."""
        found, todo = [], [oid]
        while todo:
            oid = todo.pop()
            for known in (self.now.get(oid), self.then.get(oid)):
                if known is not None and known not in found:
                    found.append(known)
                    if known.of:
                        todo.append(known.of)
        return found


    def parts(self):
        return [*self.now.values(), *self.then.values()]

    def kin(self, owners):
        """Partitions, children and parents, however far."""
        found, todo = set(owners), list(owners)
        while todo:
            oid = todo.pop()
            for one, other in self.inherits:
                for near in ({one, other} - {oid} if oid in (one, other) else ()):
                    if near not in found:
                        found.add(near)
                        todo.append(near)
        return found

    def indexes(self, owners):
        return {part.oid for part in self.parts() if part.of in owners and part.kind in "iI"}

    def whole(self, oid):
        """What a part belongs to, unless that is an owned sequence, which has a name of its own."""
        for relations in (self.now, self.then):
            while oid in relations and relations[oid].of and relations[oid].kind != "S":
                oid = relations[oid].of
        return oid


def union(one, other):
    if other is None:
        return one
    both = dict(one)
    for key, value in other.items():
        if isinstance(value, list) and isinstance(both.get(key), list):
            both[key] = both[key] + [item for item in value if item not in both[key]]
    both["fires_triggers"] = one["fires_triggers"] or other["fires_triggers"]
    return both


def names(relation, spelled):
    for schema, name in spelled:
        if name == relation.name and (schema is None or schema == relation.schema
                                      or schema == "pg_temp" and relation.schema.startswith("pg_temp")):
            return True
    return False


def is_named(seen, oid, spelled):
    return any(names(relation, spelled) for relation in seen.owners(oid))


def judge(seen, reading):
    effects = set(reading["effects"])
    both = reading["reads"] + reading["writes"]
    reach, reach_written = set(reading.get("reach", ())), set(reading.get("reach_written", ()))
    functions = {name.lower() for _, name in reading["functions"]}
    found = []

    def shown(oid):
        owners = seen.owners(oid)
        return str(owners[0]) if owners else str(oid)

    def reached(oid, where):
        return any(owner.oid in where for owner in seen.owners(oid))

    def add(name, oid, what):
        if name in SERIOUS:
            name = softened(name, oid, what)
        found.append(Finding(name, shown(oid) if oid else "", what))

    def softened(name, oid, what):
        """A serious kind, unless the reading says that it cannot know."""
        if reading["opaque"] or effects & NOT_NOW:
            return "declared opaque"
        if reading["fires_triggers"]:
            return "declared triggers"
        return name

    def sequence(oid):
        return any(owner.kind == "S" for owner in seen.owners(oid))

    def scanned_of(owners):
        return any(seen.changed.get(owner, (None, (0, 0, 0, 0)))[1][3] for owner in owners | seen.indexes(owners))

    # System views print definitions as well.
    printed = any(one.startswith(LOOKS) for one in functions) or any(
        known.oid < OURS_FROM and known.kind == "v" and names(known, reading["reads"]) for known in seen.now.values())

    # --- relations that were locked or scanned
    modes = {}
    for oid, mode in seen.locks:
        modes.setdefault(seen.whole(oid), set()).add(mode)
    for oid, (_, delta) in seen.changed.items():
        if delta[3]:
            modes.setdefault(seen.whole(oid), set())
    for oid, held in sorted(modes.items()):
        if oid < OURS_FROM or not seen.owners(oid) or is_named(seen, oid, both):
            continue
        owners = {owner.oid for owner in seen.owners(oid)}
        created = oid not in seen.then
        scanned = scanned_of(owners)
        written = any(any(seen.changed.get(owner, (None, (0,)))[1][:3]) for owner in owners)
        if created and oid in seen.now:
            continue  # judged below
        if reached(oid, reach):
            add("reached through the catalog", oid, " ".join(sorted(held)))
        elif sequence(oid) and functions & SEQUENCE_FUNCTIONS:
            add("sequence named in a call", oid, " ".join(sorted(held)))
        elif sequence(oid) and effects & OF_INSERT:
            add("sequence of a default", oid, " ".join(sorted(held)))
        elif not written and held <= SHARED and any(is_neighbour(seen, owners, key, both) for key in seen.foreign_keys):
            add("foreign-key check", oid, " ".join(sorted(held)))
        elif not written and effects & {"create", "alter", "drop", "truncate"} and any(
                key[1] in owners and is_named(seen, key[0], both) for key in seen.foreign_keys):
            add("foreign key's other table", oid, " ".join(sorted(held)))
        elif not written and effects & {"create", "alter"} and any(
                key[0] in owners and (is_named(seen, key[1], both) or key[1] in reach) for key in seen.foreign_keys & seen.foreign_keys_now):
            add("foreign key's other table", oid, " ".join(sorted(held)))
        elif not written and any(part.of and part.kind in "iI" and names(part, both) and part.of in seen.kin(owners)
                                 for part in seen.parts()):
            add("table of a named index", oid, " ".join(sorted(held)))
        elif not written and held <= {"AccessShareLock"} and any(row in owners and (is_named(seen, of, both) or of in reach)
                                                                 for of, row in seen.row_policies):
            add("row policy", oid, " ".join(sorted(held)))
        elif reading["effects"] == ["maintenance"] and not both:
            add("maintenance of everything", oid, " ".join(sorted(held)))
        elif held <= {"AccessShareLock"} and all(owner.kind == "c" for owner in seen.owners(oid)):
            add("row type", oid, " ".join(sorted(held)))
        elif not scanned and held <= {"AccessShareLock"} and effects & {"create", "alter"} and not effects & {"select", "execute"}:
            add("row type", oid, " ".join(sorted(held)))
        elif not written and printed and (not scanned and held <= {"AccessShareLock"}
                                          or sequence(oid) and held <= {"AccessShareLock", "RowExclusiveLock"}):
            add("definition or size looked at", oid, " ".join(sorted(held)))
        else:
            add("relation not named", oid, " ".join(sorted(held)) or "scanned")
    for oid in sorted(set(seen.sensitive())):
        if not effects & DEFINITIONS and oid not in reach and not is_named(seen, oid, both):
            if printed:  # the planner itself looks into pg_statistic, and names of roles come from pg_authid
                add("definition or size looked at", oid, SENSITIVE[oid])
                continue
            add("sensitive catalog not named", oid, SENSITIVE[oid])

    # --- rows
    for oid, ((schema, name, kind), delta) in sorted(seen.changed.items()):
        if not any(delta[:3]):
            continue
        if oid < OURS_FROM:
            if schema == "pg_catalog":
                allowed = OF_CATALOG.get(name, DEFINITIONS)
                is_dml = any(one == name for _, one in reading["writes"])
                if not effects & allowed and not is_dml and not (name.startswith("pg_largeobject") and effects & NOT_NOW):
                    add("catalog changed without an effect", oid, f"{name} {delta[:3]}")
            continue
        if kind == "t":
            continue
        for count, allowed, what in zip(delta, (OF_INSERT, OF_UPDATE, OF_DELETE), ("inserted", "updated", "deleted")):
            if count > 0 and not effects & allowed:
                add("effect not named", oid, f"{count} {what}, effects {' '.join(sorted(effects))}")
        if is_named(seen, oid, reading["writes"]):
            continue
        if reached(oid, reach_written):
            add("written below a named relation", oid, str(delta[:3]))
        else:
            add("written relation not named", oid, str(delta[:3]))

    # --- relations that came and went
    if seen.now and seen.then and seen.own:
        for oid in sorted(set(seen.now) - set(seen.then)):
            new = seen.now[oid]
            if new.kind in OF_ROWS and not new.of:
                if not effects & {"create", "server"}:
                    add("effect not named", oid, "made")
                if not names(new, reading["writes"]):
                    add("made relation not named", oid, "made")
        for oid in sorted(set(seen.then) - set(seen.now)):
            old = seen.then[oid]
            if old.kind in OF_ROWS and not (old.kind == "S" and old.of):
                if not effects & {"drop", "alter", "server"}:
                    add("effect not named", oid, "dropped")
                if names(old, reading["writes"]):
                    continue
                if oid in reach_written:
                    add("dropped with a named relation", oid, "dropped")
                else:
                    add("dropped relation not named", oid, "dropped")
        for oid in sorted(set(seen.then) & set(seen.now)):
            old, new = seen.then[oid], seen.now[oid]
            if (old.schema, old.name) != (new.schema, new.name) and old.kind in OF_ROWS:
                if "alter" not in effects:
                    add("effect not named", oid, "renamed")
                if not is_named(seen, oid, reading["writes"]) and not old.schema.startswith("pg_t"):
                    add("written relation not named", oid, "renamed")
            if old.kind in "rm" and old.file != new.file:
                if not effects & DEFINITIONS:
                    add("effect not named", oid, "its rows are in another file")
                if not is_named(seen, oid, reading["writes"]):
                    name = "written below a named relation" if oid in reach_written else "written relation not named"
                    add(name, oid, "its rows are in another file")
    return found


def is_neighbour(seen, owners, pair, spelled):
    one, other = pair
    return one in owners and is_named(seen, other, spelled) or other in owners and is_named(seen, one, spelled)
