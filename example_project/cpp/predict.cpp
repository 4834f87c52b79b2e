#include <digits/net.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>

int main(int, char** arguments) {
  std::ifstream file(arguments[1], std::ios::binary);
  std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  const float* pixels = reinterpret_cast<const float*>(bytes.data());
  const int64_t count = static_cast<int64_t>(bytes.size() / sizeof(float) / 64);

  digits_net* net;
  digits_status status = digits_net_open(&net, 1, 0);
  for (int64_t start = 0; !status && start < count; start += 100) {
    digits_net_inputs inputs{pixels + start * 64, std::min<int64_t>(100, count - start)};
    digits_net_outputs outputs;
    if ((status = digits_net_run(net, &inputs, &outputs))) break;
    for (int64_t i = 0; i < inputs.batch; i++) {
      const float* scores = outputs.output + i * 10;
      std::printf("%td\n", std::max_element(scores, scores + 10) - scores);
    }
    digits_net_free(&outputs);
  }
  digits_net_close(net);
  if (status) std::fprintf(stderr, "%s\n", digits_error());
  return status;
}
