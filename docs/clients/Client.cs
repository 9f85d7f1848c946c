// C# client of `kptk serve` (.NET 8 or later), standard library only. Untested here: the machine
// that kptk is built on has no .NET.
//
// Run:  dotnet new console -o client && cp Client.cs client/Program.cs && cd client
//       dotnet run -- http://127.0.0.1:8080 photo.jpg [result.jpg]

using System;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Threading.Tasks;

public static class Client
{
    public static async Task<int> Main(string[] args)
    {
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        if (args.Length < 2 || args.Length > 3)
        {
            return Fail("usage: dotnet run -- URL PICTURE [RESULT]");
        }
        try
        {
            return await Run(args[0].TrimEnd('/'), args[1], args.Length == 3 ? args[2] : "result.jpg");
        }
        catch (Exception error) when (error is IOException || error is HttpRequestException
            || error is JsonException || error is TaskCanceledException
            || error is UnauthorizedAccessException)
        {
            return Fail($"error: {error.Message}");
        }
    }

    private static async Task<int> Run(string url, string path, string target)
    {
        JsonElement answer = await Ask(url, File.ReadAllBytes(path));
        int code = answer.GetProperty("errorCode").GetInt32();
        if (code != 0)
        {
            return Fail($"error {code}: {answer.GetProperty("errorMsg").GetString()}");
        }
        JsonElement result = answer.GetProperty("result");
        JsonElement people = result.GetProperty("persons");
        Console.WriteLine($"{people.GetArrayLength()} people");
        foreach (JsonElement person in people.EnumerateArray())
        {
            string box = string.Join(" ", Numbers(person.GetProperty("bbox")).Select(v => $"{v:F1}"));
            double[] nose = Numbers(person.GetProperty("kpts")[0]);
            double score = person.GetProperty("detScore").GetDouble();
            Console.WriteLine(
                $"score {score:F3}  box {box}  nose {nose[0]:F1} {nose[1]:F1} ({nose[2]:F2})");
        }
        File.WriteAllBytes(target, result.GetProperty("image").GetBytesFromBase64());
        Console.WriteLine($"saved {target}");
        return 0;
    }

    /// <summary>The service's answer, whether it is a result or an error.</summary>
    private static async Task<JsonElement> Ask(string url, byte[] picture)
    {
        string body = "{\"image\":\"" + Convert.ToBase64String(picture) + "\"}";
        HttpClient client = new HttpClient { Timeout = TimeSpan.FromMinutes(2) };
        string token = Environment.GetEnvironmentVariable("KPTK_SERVE_TOKEN");
        if (!string.IsNullOrEmpty(token))
        {
            client.DefaultRequestHeaders.Authorization =
                new AuthenticationHeaderValue("Bearer", token);
        }
        HttpResponseMessage response = await client.PostAsync(
            url + "/human-keypoint-detection",
            new StringContent(body, Encoding.UTF8, "application/json"));
        string text = await response.Content.ReadAsStringAsync();
        return JsonDocument.Parse(text).RootElement;
    }

    private static double[] Numbers(JsonElement list) =>
        list.EnumerateArray().Select(value => value.GetDouble()).ToArray();

    private static int Fail(string message)
    {
        Console.Error.WriteLine(message);
        return 1;
    }
}
