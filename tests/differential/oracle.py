"""The same texts in other hands: pglast (libpg_query for Python), walked mechanically over the tree as JSON.

Reads a JSON list of texts, prints one JSON object a line. Nothing here knows a statement's fields by name unless it must: every
RangeVar anywhere is a relation unless it is a CTE in scope, every FuncCall a function, every ParamRef a parameter; what is
written is the target of a data change, of INTO, of COPY FROM and of definitions. Where that is less exact than linegate's
walk, the comparison says so instead of guessing."""

import json
import sys

from pglast.parser import ParseError, parse_sql_json

DML = {"InsertStmt": "insert", "UpdateStmt": "update", "DeleteStmt": "delete", "MergeStmt": None}
# Relations that DROP and its like spell as lists of strings.
SPELLED = {"OBJECT_TABLE", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_FOREIGN_TABLE", "OBJECT_SEQUENCE", "OBJECT_INDEX"}
# Fields whose RangeVar is changed, by statement.
CHANGED = {"CreateStmt": ("relation",), "ViewStmt": ("view",), "IndexStmt": ("relation",), "AlterTableStmt": ("relation",),
           "TruncateStmt": ("relations",), "RefreshMatViewStmt": ("relation",), "RenameStmt": ("relation",), "RuleStmt": ("relation",),
           "CreateTrigStmt": ("relation",), "CreatePolicyStmt": ("table",), "AlterPolicyStmt": ("table",), "LockStmt": ("relations",),
           "CreateSeqStmt": ("sequence",), "AlterSeqStmt": ("sequence",), "ClusterStmt": ("relation",), "ReindexStmt": ("relation",),
           "VacuumRelation": ("relation",), "IntoClause": ("rel",), "InsertStmt": ("relation",), "UpdateStmt": ("relation",),
           "DeleteStmt": ("relation",), "MergeStmt": ("relation",), "AlterObjectSchemaStmt": ("relation",)}


class Found:
    def __init__(self):
        self.relations, self.written, self.functions, self.ctes = set(), set(), set(), set()
        self.effects, self.kinds, self.parameter = set(), [], 0
        self.later = False


def words(items):
    return [item["String"].get("sval", "") for item in items if "String" in item]


def last_two(parts):
    return (parts[-2] if len(parts) > 1 else None, parts[-1]) if parts else None


def relation(node):
    temporary = "pg_temp" if node.get("relpersistence") == "t" else None
    return node.get("schemaname") or temporary, node.get("relname", "")


def walk(node, scope, found, now):
    """`scope`: CTE names; `now`: what is changed here is changed when the text runs."""
    if isinstance(node, list):
        for item in node:
            walk(item, scope, found, now)
    elif isinstance(node, dict):
        for kind, value in node.items():
            if isinstance(value, dict) and kind[:1].isupper():
                known(kind, value, scope, found, now)
            else:
                walk(value, scope, found, now)


def known(kind, node, scope, found, now):
    if kind == "RangeVar":
        name = relation(node)
        if name[0] is not None or name[1] not in scope or node.get("catalogname"):
            found.relations.add(name)
        return
    if kind == "LockingClause":
        return  # its names are aliases
    if kind == "ParamRef":
        found.parameter = max(found.parameter, node.get("number", 0))
    if kind == "FuncCall":
        name = last_two(words(node["funcname"]))
        if name:
            found.functions.add((None if name[0] == "pg_catalog" else name[0], name[1]))
    if kind == "ExplainStmt":
        options = {option["DefElem"]["defname"].lower(): option["DefElem"].get("arg") for option in node.get("options", [])}
        off = ({"String": {"sval": word}} for word in ("false", "off"))
        now = now and "analyze" in options and options["analyze"] not in list(off)
    if kind in ("CreateFunctionStmt", "RuleStmt"):
        changed(kind, node, found, now)
        now = False
    elif now:
        changed(kind, node, found, now)
    if kind == "SelectStmt" and now:
        found.effects.add("select" if not node.get("valuesLists") else "rows")
    if now and DML.get(kind):
        found.effects.add(DML[kind])
    if kind == "MergeWhenClause" and now:
        found.effects.update({"CMD_INSERT": ["insert"], "CMD_UPDATE": ["update"], "CMD_DELETE": ["delete"]}.get(node.get("commandType"), []))
    if kind == "OnConflictClause" and now and node.get("action") == "ONCONFLICT_UPDATE":
        found.effects.add("update")
    if kind == "IntoClause" and now:
        found.effects.add("create")
    rest = dict(node)
    with_clause = rest.pop("withClause", None)
    if with_clause:
        recursive = with_clause.get("recursive", False)
        ctes = [cte["CommonTableExpr"] for cte in with_clause["ctes"]]
        names = [cte["ctename"] for cte in ctes]
        found.ctes.update(names)
        inner = scope | set(names) if recursive else scope
        for cte in ctes:
            walk({key: value for key, value in cte.items() if key != "ctename"}, inner, found, now)
            inner = inner | {cte["ctename"]}
        scope = inner
    # Targets are never CTEs: they are taken apart from the rest.
    for field in CHANGED.get(kind, ()) if kind in DML or kind == "IntoClause" else ():
        target = rest.pop(field, None)
        if target:
            found.relations.add(relation(target.get("RangeVar", target)))
    for field, value in rest.items():
        if isinstance(value, dict) and not any(key[:1].isupper() for key in value) and "relname" in value and field != "view":
            known("RangeVar", value, scope, found, now)
        elif isinstance(value, dict) and field in ("larg", "rarg") and kind == "SelectStmt":
            known("SelectStmt", value, scope, found, now)
        elif isinstance(value, dict) and field in ("intoClause", "into"):
            known("IntoClause", value, scope, found, now)
        elif isinstance(value, dict) and field == "onConflictClause":
            known("OnConflictClause", value, scope, found, now)
        elif isinstance(value, dict) and field == "view":
            found.relations.add(relation(value))
        elif isinstance(value, dict) and field in ("func", "funccall") and "funcname" in value:
            known("FuncCall", value, scope, found, now)
        else:
            walk(value, scope, found, now)


def changed(kind, node, found, now):
    for field in CHANGED.get(kind, ()):
        value = node.get(field)
        for item in value if isinstance(value, list) else [value] if value else []:
            item = item.get("RangeVar", item)
            if "relname" in item:
                found.written.add(relation(item))
    if kind == "CopyStmt" and node.get("is_from") and node.get("relation"):
        found.written.add(relation(node["relation"]))
    if kind == "DropStmt" and node.get("removeType") in SPELLED:
        for item in node["objects"]:
            name = last_two(words(item["List"]["items"]))
            found.written.add(name)
            found.relations.add(name)


def look(text):
    try:
        tree = json.loads(parse_sql_json(text))
    except (ParseError, ValueError, RecursionError) as error:
        return {"error": type(error).__name__}
    found = Found()
    statements = tree.get("stmts", [])
    try:
        for statement in statements:
            statement = statement.get("stmt", {})
            found.kinds += statement.keys()
            walk(statement, frozenset(), found, True)
    except RecursionError:
        return {"error": "RecursionError"}
    order = lambda names: sorted(names, key=lambda name: (name[0] or "", name[1]))
    return {"count": len(statements), "kinds": found.kinds, "relations": order(found.relations), "written": order(found.written),
            "functions": order(found.functions), "ctes": sorted(found.ctes), "parameters": found.parameter,
            "effects": sorted(found.effects)}


def main():
    sys.setrecursionlimit(20000)
    for text in json.load(sys.stdin):
        print(json.dumps(look(text)))


if __name__ == "__main__":
    main()
