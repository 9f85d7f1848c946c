// Java client of `kptk serve` (Java 17 or later), standard library only.
//
// Java has no JSON reader of its own, so a small one stands at the end; in a project, use yours.
//
// Run:  java Client.java http://127.0.0.1:8080 photo.jpg [result.jpg]

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;

public class Client {
    public static void main(String[] args) throws InterruptedException {
        if (args.length < 2 || args.length > 3) {
            fail("usage: java Client.java URL PICTURE [RESULT]");
        }
        try {
            run(args[0].replaceAll("/+$", ""), args[1], args.length == 3 ? args[2] : "result.jpg");
        } catch (IOException | IllegalArgumentException error) {
            fail("error: " + error);
        }
    }

    static void run(String url, String path, String target)
            throws IOException, InterruptedException {
        Map<?, ?> answer = ask(url, Files.readAllBytes(Path.of(path)));
        long code = Math.round((Double) answer.get("errorCode"));
        if (code != 0) {
            fail("error " + code + ": " + answer.get("errorMsg"));
        }
        Map<?, ?> result = (Map<?, ?>) answer.get("result");
        List<?> people = (List<?>) result.get("persons");
        System.out.println(people.size() + " people");
        for (Object each : people) {
            Map<?, ?> person = (Map<?, ?>) each;
            String box = ((List<?>) person.get("bbox")).stream()
                    .map(value -> String.format(Locale.ROOT, "%.1f", value))
                    .collect(Collectors.joining(" "));
            List<?> nose = (List<?>) ((List<?>) person.get("kpts")).get(0);
            System.out.println(String.format(Locale.ROOT, "score %.3f  box %s  nose %.1f %.1f (%.2f)",
                    person.get("detScore"), box, nose.get(0), nose.get(1), nose.get(2)));
        }
        Files.write(Path.of(target), Base64.getDecoder().decode((String) result.get("image")));
        System.out.println("saved " + target);
    }

    /** The service's answer, whether it is a result or an error. */
    static Map<?, ?> ask(String url, byte[] picture) throws IOException, InterruptedException {
        String body = "{\"image\":\"" + Base64.getEncoder().encodeToString(picture) + "\"}";
        HttpRequest.Builder request = HttpRequest
                .newBuilder(URI.create(url + "/human-keypoint-detection"))
                .timeout(Duration.ofMinutes(2))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body));
        String token = System.getenv("KPTK_SERVE_TOKEN");
        if (token != null) {
            request.header("Authorization", "Bearer " + token);
        }
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        HttpResponse<String> response =
                client.send(request.build(), HttpResponse.BodyHandlers.ofString());
        return (Map<?, ?>) new Json(response.body()).read();
    }

    static void fail(String message) {
        System.err.println(message);
        System.exit(1);
    }
}

/** Reads JSON into maps, lists, strings, doubles, booleans and null. */
class Json {
    private final String text;
    private int at = 0;

    Json(String text) {
        this.text = text;
    }

    Object read() {
        switch (peek()) {
            case '{': return readObject();
            case '[': return readArray();
            case '"': return readString();
            case 't': return skip("true", true);
            case 'f': return skip("false", false);
            case 'n': return skip("null", null);
            default: return readNumber();
        }
    }

    private Map<String, Object> readObject() {
        Map<String, Object> found = new LinkedHashMap<>();
        take('{');
        while (peek() != '}') {
            String key = readString();
            take(':');
            found.put(key, read());
            if (peek() == ',') {
                take(',');
            }
        }
        take('}');
        return found;
    }

    private List<Object> readArray() {
        List<Object> found = new ArrayList<>();
        take('[');
        while (peek() != ']') {
            found.add(read());
            if (peek() == ',') {
                take(',');
            }
        }
        take(']');
        return found;
    }

    private String readString() {
        take('"');
        StringBuilder found = new StringBuilder();
        while (charAt(at) != '"') {
            char next = text.charAt(at++);
            found.append(next == '\\' ? readEscape() : next);
        }
        at++;
        return found.toString();
    }

    private char readEscape() {
        char kind = charAt(at++);
        if (kind == 'u') {
            at += 4;
            return (char) Integer.parseInt(text.substring(at - 4, at), 16);
        }
        int place = "nrtbf".indexOf(kind);
        return place < 0 ? kind : "\n\r\t\b\f".charAt(place);
    }

    private Double readNumber() {
        int start = at;
        while (at < text.length() && "+-.eE0123456789".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
        return Double.valueOf(text.substring(start, at));
    }

    private Object skip(String word, Object value) {
        at += word.length();
        return value;
    }

    private char peek() {
        while (Character.isWhitespace(charAt(at))) {
            at++;
        }
        return text.charAt(at);
    }

    private void take(char wanted) {
        if (peek() != wanted) {
            throw new IllegalArgumentException("no JSON at character " + at);
        }
        at++;
    }

    private char charAt(int place) {
        if (place >= text.length()) {
            throw new IllegalArgumentException("the JSON ends early");
        }
        return text.charAt(place);
    }
}
