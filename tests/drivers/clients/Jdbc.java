// JDBC: the driver's own startup parameters, server-side prepared statements with binary transfer, batches, cursors, COPY, metadata.
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

public class Jdbc {
    interface Work { Object run() throws Exception; }

    static void step(String label, Work work) {
        try {
            String text = String.valueOf(work.run());
            System.out.println(label + ": " + (text.length() > 4000 ? text.substring(0, 200) + "… " + text.length() + " " + text.hashCode() : text));
        } catch (Exception e) {
            System.out.println(label + ": " + describe(e));
        }
    }

    static String describe(Throwable e) {
        StringBuilder out = new StringBuilder(e.getClass().getSimpleName() + " | " + e.getMessage());
        for (Throwable t = e; t != null; t = t instanceof SQLException s ? s.getNextException() : null) {
            if (t instanceof SQLException s) out.append(" | ").append(s.getSQLState());
            if (t instanceof PSQLException p && p.getServerErrorMessage() != null) {
                ServerErrorMessage m = p.getServerErrorMessage();
                out.append(" | ").append(Arrays.asList(m.getSeverity(), m.getDetail(), m.getHint(), m.getPosition(), m.getWhere(), m.getSchema(), m.getTable(), m.getColumn(), m.getDatatype(), m.getConstraint(), m.getFile(), m.getLine(), m.getRoutine()));
            }
        }
        return out.toString();
    }

    static String rows(ResultSet r) throws SQLException {
        StringBuilder out = new StringBuilder();
        ResultSetMetaData m = r.getMetaData();
        for (int i = 1; i <= m.getColumnCount(); i++) out.append(m.getColumnName(i)).append(':').append(m.getColumnTypeName(i)).append(':').append(m.getPrecision(i)).append(':').append(m.getScale(i)).append(' ');
        while (r.next()) {
            out.append('[');
            for (int i = 1; i <= m.getColumnCount(); i++) {
                Object o;
                try { o = r.getObject(i); } catch (SQLException e) { o = describe(e); }
                out.append(o instanceof byte[] b ? Arrays.toString(b) : String.valueOf(o instanceof Array a ? a.toString() : o instanceof SQLXML x ? x.getString() : o)).append(", ");
            }
            out.append(']');
        }
        return out.toString();
    }

    static String query(Connection c, String sql, Object... values) throws SQLException {
        try (PreparedStatement p = c.prepareStatement(sql)) {
            for (int i = 0; i < values.length; i++) p.setObject(i + 1, values[i]);
            boolean has = p.execute();
            String out = "";
            while (true) {
                if (has) out += rows(p.getResultSet()); else if (p.getUpdateCount() >= 0) out += " count " + p.getUpdateCount(); else break;
                has = p.getMoreResults();
            }
            for (SQLWarning w = p.getWarnings(); w != null; w = w.getNextWarning()) out += " warning " + w.getSQLState() + " " + w.getMessage();
            return out;
        }
    }

    static String url(String more) {
        Map<String, String> e = System.getenv();
        return "jdbc:postgresql://" + e.get("PGHOST") + ":" + e.get("PGPORT") + "/drivers?user=" + e.get("PGUSER") + "&password=" + e.get("PGPASSWORD")
            + (e.get("DRIVERS_TLS").isEmpty() ? "&sslmode=disable" : "&sslmode=require") + more;
    }

    public static void main(String[] args) throws Exception {
        List<String> types = Files.readAllLines(Path.of("types.txt"));
        try (Connection c = DriverManager.getConnection(url(""))) {
            DatabaseMetaData m = c.getMetaData();
            step("product", () -> m.getDatabaseProductVersion() + " " + m.getDriverVersion());
            for (String more : List.of("", "&binaryTransfer=false", "&preferQueryMode=simple", "&preferQueryMode=extendedForPrepared", "&prepareThreshold=1", "&prepareThreshold=-1"))
                try (Connection k = DriverManager.getConnection(url(more))) {
                    for (String column : types) step(column + more, () -> query(k, "SELECT " + column + " FROM types ORDER BY id") + query(k, "SELECT " + column + " FROM types ORDER BY id").length());
                    for (int n = 0; n < 8; n++) { int id = n; step("item" + more, () -> query(k, "SELECT name, price, added FROM items WHERE id = ?", id)); }
                    for (String bad : List.of("SELECT 1/0", "SELEC", "SELECT * FROM nowhere", "SELECT fail('P0007')", "SELECT chat(2)", "SELECT 1; SELECT 2; SELECT 3", "INSERT INTO items (name, qty) VALUES ('item 1', 1)", "")) step(bad + more, () -> query(k, bad));
                    step("shape" + more, () -> query(k, "SELECT * FROM watched") + query(k, "ALTER TABLE watched ADD extra int") + query(k, "SELECT * FROM watched") + query(k, "ALTER TABLE watched DROP extra") + query(k, "SELECT * FROM watched"));
                }
            for (String rewrite : List.of("", "&reWriteBatchedInserts=true")) try (Connection k = DriverManager.getConnection(url(rewrite))) {
                step("batch" + rewrite, () -> { try (PreparedStatement p = k.prepareStatement("INSERT INTO log VALUES (?, ?)")) { for (int n = 0; n < 700; n++) { p.setInt(1, n); p.setString(2, "b" + n); p.addBatch(); } return Arrays.stream(p.executeBatch()).sum(); } });
                step("batch fails" + rewrite, () -> { try (Statement s = k.createStatement()) { for (String t : List.of("INSERT INTO log VALUES (1, 'a')", "INSERT INTO log VALUES (1/0, 'b')", "INSERT INTO log VALUES (3, 'c')")) s.addBatch(t); return Arrays.toString(s.executeBatch()); } });
                step("keys" + rewrite, () -> { try (PreparedStatement p = k.prepareStatement("INSERT INTO items (name, qty) VALUES (?, 1)", Statement.RETURN_GENERATED_KEYS)) { p.setString(1, "key" + rewrite); p.executeUpdate(); return rows(p.getGeneratedKeys()); } });
            }
            c.setAutoCommit(false);
            step("fetch size", () -> { try (PreparedStatement p = c.prepareStatement("SELECT id, name FROM items ORDER BY id")) { p.setFetchSize(13); ResultSet r = p.executeQuery(); int n = 0, s = 0; while (r.next()) { n++; s += r.getInt(1); } return n + " " + s; } });
            step("left early", () -> { try (PreparedStatement p = c.prepareStatement("SELECT n FROM generate_series(1, 100000) n")) { p.setFetchSize(5); ResultSet r = p.executeQuery(); r.next(); return r.getInt(1); } });
            step("max rows", () -> { try (Statement s = c.createStatement()) { s.setMaxRows(4); return rows(s.executeQuery("SELECT id FROM items ORDER BY id")); } });
            step("savepoint", () -> { Savepoint s = c.setSavepoint("one"); try { query(c, "SELECT 1/0"); } catch (SQLException e) { c.rollback(s); } return query(c, "SELECT 1"); });
            step("aborted", () -> { try { query(c, "SELECT 1/0"); } catch (SQLException e) { } return query(c, "SELECT 1"); });
            c.rollback();
            step("scrollable", () -> { try (Statement s = c.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE)) { ResultSet r = s.executeQuery("SELECT id, qty FROM items WHERE id < 5 ORDER BY id"); r.last(); r.updateInt(2, 99); r.updateRow(); return r.getRow() + query(c, "SELECT qty FROM items WHERE id = 4"); } });
            c.rollback();
            c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            step("isolation", () -> query(c, "SHOW transaction_isolation"));
            c.rollback();
            step("read only", () -> { c.setReadOnly(true); return query(c, "DELETE FROM log"); });
            c.rollback(); c.setReadOnly(false); c.setAutoCommit(true);
            step("call", () -> { try (CallableStatement s = c.prepareCall("{ ? = call add(?, ?) }")) { s.registerOutParameter(1, Types.INTEGER); s.setInt(2, 2); s.setInt(3, 3); s.execute(); return s.getInt(1); } });
            step("array", () -> query(c, "SELECT ?::int[]", c.createArrayOf("int4", new Integer[] {1, null, 3})));
            CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
            for (String form : List.of("text", "csv", "binary")) step("copy out " + form, () -> { ByteArrayOutputStream out = new ByteArrayOutputStream(); long n = copy.copyOut("COPY types TO STDOUT (FORMAT " + form + ")", out); return n + Base64.getEncoder().encodeToString(out.toByteArray()); });
            step("copy in", () -> copy.copyIn("COPY log FROM STDIN", new ByteArrayInputStream("1\tx\n2\ty\n".getBytes())));
            step("copy bad", () -> copy.copyIn("COPY log FROM STDIN", new ByteArrayInputStream("x\tx\n".getBytes())));
            step("copy cancelled", () -> { var in = copy.copyIn("COPY log FROM STDIN"); in.writeToCopy("3\tz\n".getBytes(), 0, 4); in.cancelCopy(); return query(c, "SELECT count(*) FROM log WHERE at = 3 AND line = 'z'"); });
            step("tables", () -> rows(m.getTables(null, "app", "%", null)));
            step("columns", () -> rows(m.getColumns(null, "app", "items", "%")));
            step("keys", () -> rows(m.getPrimaryKeys(null, "app", "items")) + rows(m.getImportedKeys(null, "app", "orders")) + rows(m.getIndexInfo(null, "app", "items", false, true)));
            step("functions", () -> rows(m.getFunctions(null, "app", "%")) + rows(m.getProcedures(null, "app", "%")) + rows(m.getSchemas()) + rows(m.getTypeInfo()).length());
            query(c, "LISTEN ring");
            try (Connection d = DriverManager.getConnection(url(""))) { query(d, "NOTIFY ring, 'bell'"); }
            step("notified", () -> { String out = ""; for (PGNotification n : c.unwrap(PGConnection.class).getNotifications(3000)) out += n.getName() + n.getParameter(); return out; });
            step("query timeout", () -> { try (Statement s = c.createStatement()) { s.setQueryTimeout(1); s.execute("SELECT pg_sleep(20)"); return "late"; } });
            step("cancelled", () -> { try (Statement s = c.createStatement()) { new Timer(true).schedule(new TimerTask() { public void run() { try { s.cancel(); } catch (SQLException e) { } } }, 400); s.execute("SELECT pg_sleep(20)"); return "late"; } });
            step("usable", () -> query(c, "SELECT 1"));
            step("large", () -> { try (ResultSet r = c.createStatement().executeQuery("SELECT repeat('x', 50000000)")) { r.next(); return r.getString(1).length(); } });
            step("1600", () -> { try (ResultSet r = c.createStatement().executeQuery("SELECT * FROM wide")) { r.next(); return r.getMetaData().getColumnCount() + " " + r.getInt(1600); } });
            step("large object", () -> { c.setAutoCommit(false); try { return c.unwrap(PGConnection.class).getLargeObjectAPI().createLO() > 0; } finally { c.rollback(); c.setAutoCommit(true); } });
            step("valid", () -> c.isValid(2));
        }
        for (String more : List.of("&options=-c%20statement_timeout=4000", "&ApplicationName=me", "&assumeMinServerVersion=9.0", "&connectTimeout=3&socketTimeout=5&tcpKeepAlive=true", "&currentSchema=public", "&readOnly=true", "&defaultRowFetchSize=3", "&targetServerType=primary", "&replication=false"))
            step(more, () -> { try (Connection k = DriverManager.getConnection(url(more))) { return query(k, "SELECT current_setting('statement_timeout'), current_setting('search_path'), current_setting('extra_float_digits'), current_setting('TimeZone')"); } });
        step("nowhere", () -> DriverManager.getConnection(url("").replace("/drivers?", "/nowhere?")));
    }
}
