// C++ client of `kptk serve` (C++17 on Linux and macOS), nothing but POSIX sockets and the standard
// library: no libcurl, no JSON package. So it speaks http:// only, and brings the little reading of
// HTTP and JSON that this service's answers need; in a project, use your libraries.
//
// Build:  g++ -std=c++17 -O2 -o client client.cpp
// Run:    ./client http://127.0.0.1:8080 photo.jpg [result.jpg]

#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

const std::string kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string toBase64(const std::string& bytes) {
    std::string text;
    for (size_t i = 0; i < bytes.size(); i += 3) {
        unsigned group = 0;
        for (size_t j = i; j < i + 3; ++j) {
            group = group << 8 | (j < bytes.size() ? static_cast<unsigned char>(bytes[j]) : 0);
        }
        for (int shift = 18; shift >= 0; shift -= 6) text += kDigits[group >> shift & 63];
    }
    for (size_t i = 0; i < (3 - bytes.size() % 3) % 3; ++i) text[text.size() - 1 - i] = '=';
    return text;
}

std::string fromBase64(const std::string& text) {
    std::string bytes;
    unsigned group = 0, bits = 0;
    for (char digit : text) {
        size_t value = kDigits.find(digit);
        if (value == std::string::npos) break;  // the padding
        group = group << 6 | static_cast<unsigned>(value);
        if ((bits += 6) >= 8) bytes += static_cast<char>(group >> (bits -= 8) & 255);
    }
    return bytes;
}

// A JSON value: of the members one is filled, by its kind.
struct Json {
    double number = 0;
    std::string text;
    std::vector<Json> items;
    std::map<std::string, Json> fields;
};

class Reader {
public:
    explicit Reader(const std::string& text) : text_(text) {}

    Json read() {
        Json value;
        char next = peek();
        if (next == '{') {
            for (++at_; peek() != '}'; skip(',')) {
                std::string key = string();
                expect(':');
                value.fields[key] = read();
            }
            ++at_;
        } else if (next == '[') {
            for (++at_; peek() != ']'; skip(',')) value.items.push_back(read());
            ++at_;
        } else if (next == '"') {
            value.text = string();
        } else {
            value.number = number();
        }
        return value;
    }

private:
    char peek() {
        at_ = text_.find_first_not_of(" \t\r\n", at_);
        if (at_ == std::string::npos) throw std::runtime_error("the JSON ends early");
        return text_[at_];
    }

    void skip(char optional) {
        if (peek() == optional) ++at_;
    }

    void expect(char wanted) {
        if (peek() != wanted) throw std::runtime_error("the answer is no JSON");
        ++at_;
    }

    double number() {  // true, false and null count as 0
        size_t end = text_.find_first_of(",]} \t\r\n", at_);
        std::string word = text_.substr(at_, end - at_);
        if (word.empty() || end == std::string::npos) throw std::runtime_error("no JSON");
        at_ = end;
        return std::strtod(word.c_str(), nullptr);
    }

    std::string string() {
        expect('"');
        std::string found;
        while (text_.at(at_) != '"') {
            char next = text_[at_++];
            found += next == '\\' ? escaped() : std::string(1, next);
        }
        ++at_;
        return found;
    }

    std::string escaped() {
        char kind = text_.at(at_++);
        if (kind == 'u') {  // characters beyond ASCII are shown as they came
            std::string code = text_.substr(at_, 4);
            at_ += 4;
            return "\\u" + code;
        }
        if (kind == 'n') return "\n";
        return kind == 't' ? "\t" : std::string(1, kind);
    }

    std::string text_;
    size_t at_ = 0;
};

int connectTo(const std::string& host, const std::string& port) {
    addrinfo wanted{}, *found = nullptr;
    wanted.ai_socktype = SOCK_STREAM;
    if (int error = getaddrinfo(host.c_str(), port.c_str(), &wanted, &found)) {
        throw std::runtime_error(host + ": " + gai_strerror(error));
    }
    int line = -1;
    for (addrinfo* place = found; place && line < 0; place = place->ai_next) {
        line = socket(place->ai_family, place->ai_socktype, place->ai_protocol);
        if (line >= 0 && connect(line, place->ai_addr, place->ai_addrlen) != 0) {
            close(line);
            line = -1;
        }
    }
    freeaddrinfo(found);
    if (line < 0) throw std::runtime_error("no connection to " + host + ":" + port);
    timeval limit{120, 0};
    setsockopt(line, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return line;
}

std::string exchange(int line, const std::string& request) {
    for (size_t sent = 0; sent < request.size();) {
        ssize_t step = send(line, request.data() + sent, request.size() - sent, 0);
        if (step <= 0) break;  // refused half-way; the answer says why
        sent += static_cast<size_t>(step);
    }
    std::string answer;
    char buffer[1 << 16];
    ssize_t step;
    while ((step = recv(line, buffer, sizeof buffer, 0)) > 0) {
        answer.append(buffer, static_cast<size_t>(step));
    }
    close(line);
    return answer;
}

Json ask(const std::string& url, const std::string& picture) {
    if (url.rfind("http://", 0) != 0) throw std::runtime_error("the URL must start with http://");
    std::string place = url.substr(7, url.find('/', 7) - 7);
    size_t colon = place.rfind(':');
    bool named = colon != std::string::npos;
    std::string host = place.substr(0, colon), port = named ? place.substr(colon + 1) : "80";
    std::string body = "{\"image\":\"" + toBase64(picture) + "\"}";
    const char* token = std::getenv("KPTK_SERVE_TOKEN");
    std::string request = "POST /human-keypoint-detection HTTP/1.1\r\nHost: " + place +
        "\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " +
        std::to_string(body.size()) + "\r\n" +
        (token ? "Authorization: Bearer " + std::string(token) + "\r\n" : "") + "\r\n" + body;
    std::string answer = exchange(connectTo(host, port), request);
    size_t head = answer.find("\r\n\r\n");
    if (head == std::string::npos) throw std::runtime_error("no answer from " + url);
    return Reader(answer.substr(head + 4)).read();  // not chunked: this service sends lengths
}

void run(const std::string& url, const std::string& path, const std::string& target) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("error: " + path + " cannot be read");
    std::string picture((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    Json answer = ask(url, picture);
    if (!answer.fields.count("errorCode")) throw std::runtime_error("error: no such service");
    int code = static_cast<int>(answer.fields["errorCode"].number);
    if (code != 0) {
        throw std::runtime_error(
            "error " + std::to_string(code) + ": " + answer.fields["errorMsg"].text);
    }
    Json& result = answer.fields["result"];
    std::printf("%zu people\n", result.fields["persons"].items.size());
    for (Json& person : result.fields["persons"].items) {
        std::vector<Json>& box = person.fields["bbox"].items;
        std::vector<Json>& nose = person.fields["kpts"].items.at(0).items;
        std::printf("score %.3f  box %.1f %.1f %.1f %.1f  nose %.1f %.1f (%.2f)\n",
            person.fields["detScore"].number, box.at(0).number, box.at(1).number, box.at(2).number,
            box.at(3).number, nose.at(0).number, nose.at(1).number, nose.at(2).number);
    }
    std::ofstream(target, std::ios::binary) << fromBase64(result.fields["image"].text);
    std::printf("saved %s\n", target.c_str());
}

int main(int argc, char** argv) {
    std::signal(SIGPIPE, SIG_IGN);  // a connection that ends is an error of send
    if (argc < 3 || argc > 4) {
        std::cerr << "usage: client URL PICTURE [RESULT]\n";
        return 1;
    }
    try {
        run(argv[1], argv[2], argc == 4 ? argv[3] : "result.jpg");
    } catch (const std::exception& error) {
        std::cerr << error.what() << "\n";
        return 1;
    }
    return 0;
}
