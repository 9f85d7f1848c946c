// Go client of `kptk serve` (Go 1.19 or later), standard library only.
//
// Run:  go run client.go http://127.0.0.1:8080 photo.jpg [result.jpg]
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

type person struct {
	Bbox     [4]float64   `json:"bbox"`
	Kpts     [][3]float64 `json:"kpts"`
	DetScore float64      `json:"detScore"`
	KptScore float64      `json:"kptScore"`
}

type answer struct {
	LogID     string `json:"logId"`
	ErrorCode int    `json:"errorCode"`
	ErrorMsg  string `json:"errorMsg"`
	Result    struct {
		Persons []person `json:"persons"`
		Image   []byte   `json:"image"` // encoding/json reads base64 into bytes, and writes it
	} `json:"result"`
}

func ask(url string, picture []byte) (*answer, error) {
	body, err := json.Marshal(map[string][]byte{"image": picture})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest("POST", url+"/human-keypoint-detection", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if token := os.Getenv("KPTK_SERVE_TOKEN"); token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Timeout: 2 * time.Minute}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	found := new(answer) // the envelope comes with error statuses too
	return found, json.NewDecoder(response.Body).Decode(found)
}

func run(url, path, target string) error {
	picture, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("error: %w", err)
	}
	found, err := ask(strings.TrimRight(url, "/"), picture)
	if err != nil {
		return fmt.Errorf("error: %w", err)
	}
	if found.ErrorCode != 0 {
		return fmt.Errorf("error %d: %s", found.ErrorCode, found.ErrorMsg)
	}
	fmt.Printf("%d people\n", len(found.Result.Persons))
	for _, p := range found.Result.Persons {
		fmt.Printf("score %.3f  box %.1f %.1f %.1f %.1f  nose %.1f %.1f (%.2f)\n", p.DetScore,
			p.Bbox[0], p.Bbox[1], p.Bbox[2], p.Bbox[3], p.Kpts[0][0], p.Kpts[0][1], p.Kpts[0][2])
	}
	if err := os.WriteFile(target, found.Result.Image, 0o644); err != nil {
		return fmt.Errorf("error: %w", err)
	}
	fmt.Printf("saved %s\n", target)
	return nil
}

func main() {
	if len(os.Args) < 3 || len(os.Args) > 4 {
		fmt.Fprintln(os.Stderr, "usage: go run client.go URL PICTURE [RESULT]")
		os.Exit(1)
	}
	target := "result.jpg"
	if len(os.Args) == 4 {
		target = os.Args[3]
	}
	if err := run(os.Args[1], os.Args[2], target); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
