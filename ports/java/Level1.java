// Record a file of JSON lines as one experiment: a port of the recorder to Java 17 and newer.
// Run:        LANGSMITH_ENDPOINT=... LANGSMITH_API_KEY=... java Level1.java FILE DATASET EXPERIMENT
// Level:      1 of PORTING.md, with Java's standard library alone, which is why it brings its own JSON
// Leaves out: checks, attachments, child_runs, example_id, default names, changed scores, halving, reading back
// Exit code:  0 done, 1 stopped: run the same again, it sends what is missing
import java.io.IOException;
import java.math.BigDecimal;
import java.math.MathContext;
import java.math.RoundingMode;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

public class Level1 {
    static final String API = setting("LANGSMITH_ENDPOINT", "https://api.smith.langchain.com").replaceAll("/+$", "");
    static final String KEY = setting("LANGSMITH_API_KEY", "no-key");
    static final List<Integer> GONE = List.of(404, 405, 410, 501);
    static final List<Integer> MAY_PASS = List.of(408, 425, 429, 500, 502, 503, 504);
    static final HttpClient HTTP = HttpClient.newBuilder() // which follows no redirects: the key would travel
            .version(HttpClient.Version.HTTP_1_1).connectTimeout(Duration.ofSeconds(10)).build();

    record Answer(int status, Object body) {}

    record Span(Instant start, Instant end) {}

    static class Stopped extends RuntimeException {
        Stopped(String words) {
            super(words.replace(KEY, "<key>"));
        }
    }

    static String setting(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : value;
    }

    // ---------------------------------------------------------------- JSON

    // A parser of JSON: objects are maps, arrays lists, numbers BigDecimal (with a point or an exponent) or Long.
    static class Json {
        static final Pattern TOKEN = Pattern.compile("true|false|null|-?\\d+(\\.\\d+)?([eE][+-]?\\d+)?");
        final String text;
        int at;

        Json(String text) {
            this.text = text;
        }

        static Object parse(String text) {
            Json json = new Json(text);
            Object value = json.value();
            json.blanks();
            if (json.at != text.length()) throw new IllegalArgumentException("no JSON at character " + json.at);
            return value;
        }

        void blanks() {
            while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) at++;
        }

        boolean take(char wanted) {
            blanks();
            boolean found = at < text.length() && text.charAt(at) == wanted;
            if (found) at++;
            return found;
        }

        void need(char wanted) {
            if (!take(wanted)) throw new IllegalArgumentException("no JSON at character " + at);
        }

        Object value() {
            if (take('{')) return object();
            if (take('[')) return array();
            if (take('"')) return string();
            Matcher token = TOKEN.matcher(text).region(at, text.length());
            if (!token.lookingAt()) throw new IllegalArgumentException("no JSON at character " + at);
            at = token.end();
            return switch (token.group()) {
                case "true" -> true;
                case "false" -> false;
                case "null" -> null;
                default -> token.group(1) == null && token.group(2) == null
                        ? (Object) Long.valueOf(token.group()) : (Object) Double.valueOf(token.group());
            };
        }

        Map<String, Object> object() {
            Map<String, Object> found = new LinkedHashMap<>();
            while (!take('}')) {
                if (!found.isEmpty()) need(',');
                need('"');
                String name = string();
                need(':');
                found.put(name, value());
            }
            return found;
        }

        List<Object> array() {
            List<Object> found = new ArrayList<>();
            while (!take(']')) {
                if (!found.isEmpty()) need(',');
                found.add(value());
            }
            return found;
        }

        String string() {
            StringBuilder made = new StringBuilder();
            for (char letter; (letter = text.charAt(at++)) != '"'; ) {
                if (letter != '\\') {
                    made.append(letter);
                    continue;
                }
                char escaped = text.charAt(at++);
                int short_ = "bfnrt".indexOf(escaped);
                if (escaped == 'u') {
                    made.append((char) Integer.parseInt(text.substring(at, at += 4), 16));
                } else {
                    made.append(short_ < 0 ? escaped : "\b\f\n\r\t".charAt(short_));
                }
            }
            return made.toString();
        }
    }

    // RFC 8785 canonical JSON, but integers keep all their digits.
    static String jcs(Object value) {
        if (value instanceof Map<?, ?> map) {
            List<String> parts = new ArrayList<>();
            new TreeMap<>(map).forEach((name, item) -> parts.add(quoted((String) name) + ":" + jcs(item))); // by UTF-16 units
            return "{" + String.join(",", parts) + "}";
        }
        if (value instanceof List<?> list) return "[" + String.join(",", list.stream().map(Level1::jcs).toList()) + "]";
        if (value instanceof String text) return quoted(text);
        return value instanceof Double number ? number(number) : String.valueOf(value);
    }

    static String quoted(String text) {
        StringBuilder made = new StringBuilder("\"");
        for (char letter : text.toCharArray()) {
            int short_ = "\b\f\n\r\t\"\\".indexOf(letter);
            if (short_ >= 0) made.append('\\').append("bfnrt\"\\".charAt(short_));
            else if (letter < 0x20) made.append(String.format("\\u%04x", (int) letter));
            else made.append(letter);
        }
        return made.append('"').toString();
    }

    // A number as ECMAScript writes it: the shortest digits that mean it.
    static String number(double x) {
        if (x == 0) return "0";
        BigDecimal exact = new BigDecimal(x), shortest = exact;
        for (int digits = 1; digits <= 17; digits++) {
            shortest = exact.round(new MathContext(digits, RoundingMode.HALF_EVEN));
            if (shortest.doubleValue() == x) break;
        }
        shortest = shortest.stripTrailingZeros();
        double size = Math.abs(x);
        if (size >= 1e-6 && size < 1e21) return shortest.toPlainString();
        String digits = shortest.unscaledValue().abs().toString();
        int power = digits.length() - 1 - shortest.scale();
        String mantissa = digits.charAt(0) + (digits.length() > 1 ? "." + digits.substring(1) : "");
        return (x < 0 ? "-" : "") + mantissa + "e" + (power < 0 ? "-" : "+") + Math.abs(power);
    }

    static String uuid5(String text) {
        try {
            MessageDigest sha1 = MessageDigest.getInstance("SHA-1");
            sha1.update(HexFormat.of().parseHex("6ba7b8109dad11d180b400c04fd430c8"));
            byte[] sum = sha1.digest(text.getBytes(StandardCharsets.UTF_8));
            sum[6] = (byte) (sum[6] & 0x0f | 0x50);
            sum[8] = (byte) (sum[8] & 0x3f | 0x80);
            return HexFormat.of().formatHex(sum).replaceFirst("(.{8})(.{4})(.{4})(.{4})(.{12}).*", "$1-$2-$3-$4-$5");
        } catch (java.security.NoSuchAlgorithmException error) {
            throw new IllegalStateException(error);
        }
    }

    // ---------------------------------------------------------------- HTTP

    // The status and the JSON of an answer that is 2xx or in `fine`; what may pass is sent again for two minutes.
    static Answer call(String method, String path, String type, String body, List<Integer> fine) {
        String root = path.startsWith("/api/v2/") ? API.replaceFirst("/api(/v1)?$", "") : API;
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(root + path)).timeout(Duration.ofMinutes(1))
                .header("x-api-key", KEY).header("Accept", "application/json");
        if (type != null) request.header("Content-Type", type);
        request.method(method, body == null ? HttpRequest.BodyPublishers.noBody() : HttpRequest.BodyPublishers.ofString(body));
        Instant until = Instant.now().plusSeconds(120);
        for (double pause = 0.25; ; pause = Math.min(2 * pause, 15)) {
            double wait = pause;
            String why;
            try {
                HttpResponse<String> answer = HTTP.send(request.build(), HttpResponse.BodyHandlers.ofString());
                int status = answer.statusCode();
                String text = answer.body();
                if (fine.contains(status)) return new Answer(status, null);
                why = status + " " + text.substring(0, Math.min(500, text.length()));
                boolean isDone = status >= 200 && status < 300;
                if (isDone) return new Answer(status, text.isEmpty() ? null : Json.parse(text)); // throws for a proxy's page
                if (!MAY_PASS.contains(status) || text.contains("usage limit"))
                    throw new Stopped(method + " " + path + ": " + why);
                wait = Double.parseDouble(answer.headers().firstValue("Retry-After").orElse(String.valueOf(pause)));
            } catch (IOException | IllegalArgumentException | IndexOutOfBoundsException error) {
                why = String.valueOf(error);
            } catch (InterruptedException error) {
                throw new Stopped("interrupted");
            }
            if (Instant.now().plusMillis((long) (wait * 1000)).isAfter(until))
                throw new Stopped(method + " " + path + ": " + why);
            sleep(wait);
        }
    }

    static void sleep(double seconds) {
        try {
            Thread.sleep((long) (seconds * 1000));
        } catch (InterruptedException error) {
            throw new Stopped("interrupted");
        }
    }

    static Answer post(String path, Object body, Integer... fine) {
        return call("POST", path, "application/json", jcs(body), List.of(fine));
    }

    static List<Map<String, Object>> get(String path) {
        return list(call("GET", path, null, null, List.of()).body());
    }

    // The experiment of a name: v1, or v2 where v1 is gone.
    static Map<String, Object> findSession(String name) {
        String path = "/sessions?name=" + encoded(name);
        Answer answer = call("GET", path, null, null, GONE);
        if (!GONE.contains(answer.status())) return list(answer.body()).get(0);
        return list(object(call("GET", "/api/v2" + path, null, null, List.of()).body()).get("items")).get(0);
    }

    // A call that changes experiments: v1, or v2 where v1 is gone.
    static Answer sessionCall(String method, String tail, Map<String, Object> body) {
        List<Integer> fine = new ArrayList<>(GONE);
        fine.add(409);
        Answer answer = call(method, "/sessions" + tail, "application/json", jcs(body), fine);
        if (!GONE.contains(answer.status())) return answer;
        if (method.equals("POST")) body.put("type", "EXPERIMENT");
        return call(method, "/api/v2/sessions" + tail, "application/json", jcs(body), List.of(409));
    }

    static String encoded(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8);
    }

    @SuppressWarnings("unchecked")
    static Map<String, Object> object(Object value) {
        return (Map<String, Object>) value;
    }

    @SuppressWarnings("unchecked")
    static List<Map<String, Object>> list(Object value) {
        return (List<Map<String, Object>>) value;
    }

    // ---------------------------------------------------------------- times

    static final Pattern TIME = Pattern.compile("(\\d{4}-\\d\\d-\\d\\d)(?:[Tt ](\\d\\d:\\d\\d)(?::(\\d\\d)(?:[.,](\\d+))?)?"
            + "(?:[Zz]|([+-]\\d\\d):?(\\d\\d)?)?)?");

    static Instant timeOf(Object text) {
        Matcher found = TIME.matcher(String.valueOf(text));
        if (!found.matches()) throw new Stopped("'" + text + "' is no time");
        String[] otherwise = {"", "", "00:00", "00", "", "+00", "00"};
        String[] part = new String[7];
        for (int at = 1; at < 7; at++) part[at] = found.group(at) == null ? otherwise[at] : found.group(at);
        String micros = (part[4] + "000000").substring(0, 6); // further digits are dropped
        return OffsetDateTime.parse(part[1] + "T" + part[2] + ":" + part[3] + "." + micros + part[5] + ":" + part[6]).toInstant();
    }

    static String sent(Instant time, String pattern) {
        return DateTimeFormatter.ofPattern(pattern).withZone(ZoneOffset.UTC).format(time);
    }

    static String sent(Instant time) {
        return sent(time, "uuuu-MM-dd'T'HH:mm:ss.SSSSSS'+00:00'");
    }

    // When a result starts and ends, by its end or its latency.
    static Span times(Map<String, Object> result, Instant otherwise) {
        Instant start = result.containsKey("start_time") ? timeOf(result.get("start_time")) : otherwise;
        if (result.containsKey("end_time")) return new Span(start, timeOf(result.get("end_time")));
        double seconds = result.get("latency") instanceof Number latency ? latency.doubleValue() : 0;
        long whole = (long) seconds, rest = (long) Math.rint((seconds - whole) * 1e6);
        return new Span(start, start.plusSeconds(whole).plus(rest, ChronoUnit.MICROS));
    }

    // ---------------------------------------------------------------- bodies

    static Map<String, Object> present(Map<String, Object> values) {
        Map<String, Object> made = new LinkedHashMap<>(values);
        made.values().removeIf(value -> value == null);
        return made;
    }

    static Map<String, Object> exampleOf(Map<String, Object> result, String datasetId) {
        String reference = jcs(result.getOrDefault("reference_outputs", Map.of()));
        Map<String, Object> made = new LinkedHashMap<>();
        made.put("id", uuid5(datasetId + "-" + jcs(result.get("inputs")) + "-" + reference));
        made.put("dataset_id", datasetId);
        made.put("inputs", result.get("inputs"));
        made.put("outputs", result.get("reference_outputs"));
        made.put("metadata", result.get("example_metadata"));
        made.put("split", result.get("split"));
        return present(made);
    }

    static Map<String, Object> runOf(Map<String, Object> result, String exampleId, String sessionId, Instant opened,
            Map<String, Integer> counts) {
        Span own = times(result, opened);
        Instant start = own.start().isBefore(opened) ? opened : own.start();
        Map<String, Object> metadata = new LinkedHashMap<>(object(result.getOrDefault("metadata", Map.of())));
        if (own.start().isBefore(opened)) {
            Object end = result.containsKey("latency") ? sent(own.end()) : result.get("start_time");
            metadata.put("original_start_time", result.get("start_time"));
            metadata.put("original_end_time", result.getOrDefault("end_time", end));
        }
        Map<String, Object> content = new LinkedHashMap<>(result);
        content.keySet().removeAll(List.of("feedback", "attachments", "split", "example_metadata"));
        String text = jcs(content);
        int n = counts.merge(text, 1, Integer::sum) - 1;
        String digits = String.format("%012x", start.toEpochMilli());
        String tail = uuid5(sessionId + "-" + exampleId + "-" + text + "-" + n).substring(15);
        String id = digits.substring(0, 8) + "-" + digits.substring(8) + "-7" + tail;
        Object type = result.getOrDefault("run_type", "llm");
        Map<String, Object> run = new LinkedHashMap<>();
        for (String name : List.of("inputs", "outputs", "error", "tags")) run.put(name, result.get(name));
        run.put("id", id);
        run.put("trace_id", id);
        run.put("dotted_order", sent(start, "uuuuMMdd'T'HHmmssSSSSSS'Z'") + id);
        run.put("session_id", sessionId);
        run.put("reference_example_id", exampleId);
        run.put("name", result.getOrDefault("name", type));
        run.put("run_type", type);
        run.put("start_time", sent(start));
        run.put("end_time", sent(start.plus(Duration.between(own.start(), own.end()))));
        run.put("extra", Map.of("metadata", metadata));
        return present(run);
    }

    static List<Map<String, Object>> feedbackOf(Map<String, Object> result, Map<String, Object> run) {
        Object given = result.getOrDefault("feedback", List.of());
        List<Map<String, Object>> items = new ArrayList<>(), made = new ArrayList<>();
        if (given instanceof Map<?, ?> scores) {
            scores.forEach((key, mark) -> {
                Map<String, Object> item = new LinkedHashMap<>();
                item.put("key", key);
                item.put(mark instanceof String ? "value" : "score", mark);
                items.add(item);
            });
        } else {
            items.addAll(list(given));
        }
        Map<String, Integer> counts = new HashMap<>();
        for (Map<String, Object> one : items) {
            Map<String, Object> item = present(one);
            boolean isFailure = Boolean.TRUE.equals(item.get("error"));
            if (!isFailure && !item.containsKey("score") && !item.containsKey("value") && !item.containsKey("comment")) continue;
            if (item.get("score") instanceof Double score)
                item.put("score", new BigDecimal(score).setScale(4, RoundingMode.HALF_EVEN).doubleValue());
            String key = item.get("key") + (isFailure ? "-error" : "");
            item.put("id", uuid5(run.get("id") + "-" + key + "-" + (counts.merge(key, 1, Integer::sum) - 1)));
            item.put("run_id", run.get("id"));
            item.putIfAbsent("feedback_source", Map.of("type", "api"));
            for (String tie : List.of("trace_id", "session_id", "start_time")) item.put(tie, run.get(tie));
            made.add(item);
        }
        return made;
    }

    // ---------------------------------------------------------------- recording

    public static void main(String[] arguments) throws IOException {
        if (arguments.length != 3) {
            System.err.println("usage: java Level1.java FILE DATASET EXPERIMENT");
            System.exit(2);
        }
        try {
            record(read(arguments[0]), arguments[1], arguments[2]);
        } catch (Stopped stopped) {
            System.err.println(stopped.getMessage() + "\nRun the same again: it sends what is missing.");
            System.exit(1);
        }
    }

    static List<Map<String, Object>> read(String file) throws IOException {
        List<Map<String, Object>> results = new ArrayList<>();
        for (String line : Files.readString(Path.of(file)).replaceFirst("^\uFEFF", "").split("\n"))
            if (!line.isBlank()) results.add(present(object(Json.parse(line))));
        if (results.isEmpty()) throw new Stopped(file + ": nothing to record");
        return results;
    }

    static void record(List<Map<String, Object>> results, String datasetName, String name) {
        String datasetId = dataset(datasetName);
        Instant now = Instant.now().truncatedTo(ChronoUnit.MICROS), last = now;
        List<Span> spans = results.stream().map(result -> times(result, now)).toList();
        Instant earliest = results.stream().filter(result -> result.containsKey("start_time"))
                .map(result -> times(result, now).start()).min(Instant::compareTo).orElse(Instant.EPOCH);
        Duration window = Duration.ofHours(20);
        Duration longest = spans.stream().map(span -> Duration.between(span.start(), span.end()))
                .max(Duration::compareTo).orElse(window);
        if (earliest.isBefore(now.minus(window))) earliest = now.minus(longest.compareTo(window) < 0 ? longest : window);
        Map<String, Object> session = session(datasetId, name, earliest);
        String sessionId = (String) session.get("id");
        Instant opened = timeOf(session.get("start_time"));
        Map<String, Integer> counts = new HashMap<>();
        for (int at = 0; at < results.size(); at += 100) {
            Map<String, Map<String, Object>> examples = new LinkedHashMap<>();
            List<Map<String, Object>> runs = new ArrayList<>(), feedback = new ArrayList<>();
            for (Map<String, Object> result : results.subList(at, Math.min(at + 100, results.size()))) {
                Map<String, Object> example = exampleOf(result, datasetId);
                examples.putIfAbsent((String) example.get("id"), example);
                Map<String, Object> run = runOf(result, (String) example.get("id"), sessionId, opened, counts);
                Instant end = timeOf(run.get("end_time"));
                last = end.isAfter(last) ? end : last;
                runs.add(run);
                feedback.addAll(feedbackOf(result, run));
            }
            sendExamples(datasetId, examples);
            post("/runs/batch", Map.of("post", runs), 409);
            for (int from = 0; from < feedback.size(); from += 100)
                sendFeedback(feedback.subList(from, Math.min(from + 100, feedback.size())));
        }
        sessionCall("PATCH", "/" + sessionId, new LinkedHashMap<>(Map.of("end_time", sent(last))));
    }

    static String dataset(String name) {
        String find = "/datasets?name=" + encoded(name);
        List<Map<String, Object>> found = get(find);
        if (found.isEmpty()) {
            Answer made = post("/datasets", Map.of("name", name, "data_type", "kv"), 409);
            if (made.status() != 409) return (String) object(made.body()).get("id");
            found = get(find); // somebody else was quicker, or an answer was lost
        }
        return (String) found.get(0).get("id");
    }

    static Map<String, Object> session(String datasetId, String name, Instant start) {
        Map<String, Object> body = new LinkedHashMap<>();
        body.put("id", uuid5(datasetId + "-" + name));
        body.put("name", name);
        body.put("start_time", sent(start.truncatedTo(ChronoUnit.SECONDS)));
        body.put("reference_dataset_id", datasetId);
        Answer answer = sessionCall("POST", "", body);
        boolean isThere = answer.status() == 409;
        Map<String, Object> session = isThere ? findSession(name) : object(answer.body());
        if (!datasetId.equals(session.get("reference_dataset_id"))) {
            System.err.println("The name '" + name + "' is taken by another dataset or project: choose another.");
            System.exit(1);
        }
        return session;
    }

    static void sendExamples(String datasetId, Map<String, Map<String, Object>> examples) {
        String ids = String.join("&id=", examples.keySet());
        for (int attempt = 0; attempt < 2; attempt++) { // again after 409: some were there after all, and none was created
            for (Map<String, Object> example : get("/examples?limit=100&dataset=" + datasetId + "&id=" + ids))
                examples.remove(example.get("id"));
            if (examples.isEmpty()) return;
            if (post("/examples/bulk", new ArrayList<>(examples.values()), 409).status() != 409) return;
        }
    }

    static void sendFeedback(List<Map<String, Object>> items) {
        StringBuilder body = new StringBuilder();
        for (Map<String, Object> item : items) {
            String text = jcs(item);
            body.append("--ports-java\r\nContent-Disposition: form-data; name=\"feedback.").append(item.get("id"))
                    .append("\"\r\nContent-Type: application/json; length=").append(text.getBytes(StandardCharsets.UTF_8).length)
                    .append("\r\n\r\n").append(text).append("\r\n");
        }
        call("POST", "/runs/multipart", "multipart/form-data; boundary=ports-java", body + "--ports-java--\r\n", List.of(409));
    }
}
