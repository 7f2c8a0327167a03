"""Compares linegate's reading of a text with the oracle's, and sorts what differs into kinds. See `oracle`."""

import collections

SERIOUS = {"relation not named", "written relation not named", "effect not named", "function not named", "read by linegate only",
           "another number of statements"}

# What a statement of that kind is at least one of, whatever is in it.
CLASSES = {
    "select": ["SelectStmt"], "insert": ["InsertStmt"], "update": ["UpdateStmt"], "delete": ["DeleteStmt"],
    "select insert update delete": ["MergeStmt"], "truncate": ["TruncateStmt"], "lock": ["LockStmt"],
    "explain": ["ExplainStmt"], "call": ["CallStmt"], "execute": ["DoStmt"], "show": ["VariableShowStmt"],
    "prepared": ["PrepareStmt", "ExecuteStmt", "DeallocateStmt", "FetchStmt", "ClosePortalStmt"],
    "set role transaction": ["VariableSetStmt"], "set": ["DiscardStmt"],
    "transaction": ["TransactionStmt", "ConstraintsSetStmt"], "notify": ["ListenStmt", "NotifyStmt", "UnlistenStmt"],
    "maintenance": ["VacuumStmt", "ClusterStmt", "ReindexStmt", "RefreshMatViewStmt", "CheckPointStmt"],
    "copy-in copy-out server": ["CopyStmt"], "grant": ["GrantStmt", "GrantRoleStmt", "AlterDefaultPrivilegesStmt"],
    "role": ["CreateRoleStmt", "AlterRoleStmt", "AlterRoleSetStmt", "DropRoleStmt", "ReassignOwnedStmt"],
    "drop": ["DropStmt", "DropOwnedStmt", "DropdbStmt", "DropTableSpaceStmt", "DropUserMappingStmt", "DropSubscriptionStmt"],
    "server": ["AlterSystemStmt", "LoadStmt", "CreatedbStmt", "AlterDatabaseStmt", "AlterDatabaseSetStmt", "CreateTableSpaceStmt",
               "AlterTableSpaceOptionsStmt", "AlterTableMoveAllStmt", "CreateExtensionStmt", "AlterExtensionStmt", "CreateAmStmt",
               "AlterExtensionContentsStmt", "CreatePLangStmt", "CreateFdwStmt", "AlterFdwStmt", "CreateForeignServerStmt",
               "AlterForeignServerStmt", "CreateUserMappingStmt", "AlterUserMappingStmt", "ImportForeignSchemaStmt",
               "CreateForeignTableStmt", "AlterDatabaseRefreshCollStmt"],
    "replication": ["CreatePublicationStmt", "AlterPublicationStmt", "CreateSubscriptionStmt", "AlterSubscriptionStmt"],
    "create": ["CreateStmt", "CreateTableAsStmt", "ViewStmt", "IndexStmt", "CreateSeqStmt", "CreateSchemaStmt", "CreateStatsStmt",
               "CreateFunctionStmt", "CreateTrigStmt", "CreateEventTrigStmt", "RuleStmt", "CreatePolicyStmt", "DefineStmt",
               "CreateDomainStmt", "CompositeTypeStmt", "CreateEnumStmt", "CreateRangeStmt", "CreateOpClassStmt", "CreateOpFamilyStmt",
               "CreateCastStmt", "CreateConversionStmt", "CreateTransformStmt"],
    "alter role server replication": ["AlterTableStmt", "AlterSeqStmt", "RenameStmt", "AlterObjectSchemaStmt", "AlterOwnerStmt",
                                      "AlterObjectDependsStmt", "CommentStmt", "SecLabelStmt", "AlterFunctionStmt", "AlterEventTrigStmt",
                                      "AlterPolicyStmt", "AlterDomainStmt", "AlterEnumStmt", "AlterTypeStmt", "AlterCollationStmt",
                                      "AlterStatsStmt", "AlterOperatorStmt", "AlterOpFamilyStmt", "AlterTSDictionaryStmt",
                                      "AlterTSConfigurationStmt"],
}
CLASS_OF = {kind: set(classes.split()) for classes, kinds in CLASSES.items() for kind in kinds}
# Statements that only declare.
FREE = {"DeclareCursorStmt", "ReturnStmt"}
QUERIES = {"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"}


def judge(oracle, reading):
    """Findings as (kind, what), and how many names linegate has that the oracle has not."""
    if "error" in oracle or "unreadable" in reading:
        if "error" in oracle and "unreadable" in reading:
            return [], collections.Counter()
        if "error" in oracle:
            return [("read by linegate only", oracle["error"])], collections.Counter()
        return [("not read by linegate", reading["unreadable"])], collections.Counter()
    pairs = lambda names: {tuple(name) for name in names}
    reads, writes, functions = pairs(reading["reads"]), pairs(reading["writes"]), pairs(reading["functions"])
    relations, written, calls = pairs(oracle["relations"]), pairs(oracle["written"]), pairs(oracle["functions"])
    effects = set(reading["effects"])
    found = []
    if oracle["count"] != reading["count"]:
        found.append(("another number of statements", f"{oracle['count']} and {reading['count']}"))
    spelled = lambda name: ".".join(part for part in name if part)
    found += [("relation not named", spelled(name)) for name in sorted(relations - reads - writes, key=str)]
    found += [("written relation not named", spelled(name)) for name in sorted(written - writes, key=str)]
    found += [("function not named", spelled(name)) for name in sorted(calls - functions, key=str)]
    wanted = {one for one in oracle["effects"] if one != "rows"}
    found += [("effect not named", one) for one in sorted(wanted - effects)]
    for kind in oracle["kinds"]:
        if kind not in FREE and not effects & CLASS_OF.get(kind, set()):
            found.append(("effect not named", kind))
    if set(oracle["kinds"]) <= QUERIES:
        targets = written
        for name in sorted(reads - relations - targets, key=str):
            found.append(("CTE taken for a relation" if name[1] in oracle["ctes"] else "read by linegate only as a relation", spelled(name)))
    more = collections.Counter()
    more["relations or objects"] = len((reads | writes) - relations)
    more["functions"] = len(functions - calls)
    return found, more
