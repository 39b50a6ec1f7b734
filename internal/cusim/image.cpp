//go:build ignore

// Module images. Their code cannot run here; but their kind, and for PTX what they ask of the device,
// their entries and parameters, must agree with the sources that g++ compiled.
#include <cstdio>
#include <cstdlib>

#include "sim.h"

namespace cusim {
namespace {

// Tokens of PTX: words (with dots, $, %), and single other characters. Comments are gone.
std::vector<std::string> tokens(const char *s) {
  std::vector<std::string> r;
  auto word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '$' || c == '%';
  };
  while (*s) {
    if (s[0] == '/' && s[1] == '/') {
      while (*s && *s != '\n') ++s;
    } else if (s[0] == '/' && s[1] == '*') {
      const char *end = strstr(s + 2, "*/");
      s = end ? end + 2 : s + strlen(s);
    } else if (word(*s)) {
      const char *from = s;
      while (word(*s)) ++s;
      r.emplace_back(from, s);
    } else {
      if (*s > ' ') r.emplace_back(1, *s);
      ++s;
    }
  }
  return r;
}

// Bytes of a type such as .u64 or .b8; 0 for other words.
size_t type_size(const std::string &t) {
  if (t.size() < 3 || t[0] != '.' || !strchr("usfb", t[1])) return 0;
  char *end;
  const long bits = strtol(t.c_str() + 2, &end, 10);
  return *end || (bits != 8 && bits != 16 && bits != 32 && bits != 64) ? 0 : size_t(bits) / 8;
}

// Bytes of the declaration that starts at t[i], up to a comma, parenthesis or semicolon; i moves there.
size_t declared_size(const std::vector<std::string> &t, size_t &i) {
  size_t type = 0, count = 1;
  for (; i < t.size() && t[i] != "," && t[i] != ")" && t[i] != ";"; ++i) {
    if (!type) type = type_size(t[i]);
    if (t[i] == "[" && i + 1 < t.size()) count *= size_t(atol(t[i + 1].c_str()));
  }
  return type * count;
}

const Kernel *host_kernel(const std::string &name) {
  for (const Kernel *k = kernels; k; k = k->next)
    if (name == k->name) return k;
  return nullptr;
}

int read_ptx(const char *text, int capability, std::map<std::string, ImageKernel> *out) {
  const std::vector<std::string> t = tokens(text);
  const char *newest = getenv("CUSIM_PTX");
  auto version = [](const char *s) { return strtol(s, nullptr, 10) * 100 + (strchr(s, '.') ? atol(strchr(s, '.') + 1) : 0); };
  for (size_t i = 0; i + 1 < t.size(); ++i) {
    if (t[i] == ".version" && version(t[i + 1].c_str()) > version(newest ? newest : "9.0")) {
      fprintf(stderr, "cusim: PTX version %s is newer than the driver's %s\n", t[i + 1].c_str(), newest ? newest : "9.0");
      return UNSUPPORTED_PTX_VERSION;
    }
    if (t[i] == ".target" && !t[i + 1].compare(0, 3, "sm_")) {
      const std::string &sm = t[i + 1];
      const bool exact = sm.back() == 'a';     // sm_90a: the features of one architecture only
      const int wanted = atoi(sm.c_str() + 3);
      if (wanted > capability || (exact && wanted != capability)) {
        fprintf(stderr, "cusim: PTX for %s, on a device of sm_%d\n", sm.c_str(), capability);
        return NO_BINARY_FOR_GPU;
      }
    }
    if (t[i] != ".entry") continue;
    const std::string name = t[++i];
    const Kernel *k = host_kernel(name);
    if (!k) {
      fprintf(stderr, "cusim: the PTX has a kernel %s, the sources have not\n", name.c_str());
      return INVALID_IMAGE;
    }
    int n = 0;
    ++i;
    if (i < t.size() && t[i] == "(") {
      for (; i < t.size() && t[i] != ")";) {
        if (t[++i] != ".param") continue;
        const size_t size = declared_size(t, i);
        if (n >= k->params || size != k->sizes[n]) {
          fprintf(stderr, "cusim: kernel %s, parameter %d: %zu bytes in the PTX, %zu in the sources\n", k->name, n, size,
                  n < k->params ? k->sizes[n] : 0);
          return INVALID_IMAGE;
        }
        ++n;
      }
    }
    if (n != k->params) {
      fprintf(stderr, "cusim: kernel %s has %d parameters in the PTX, %d in the sources\n", k->name, n, k->params);
      return INVALID_IMAGE;
    }
    ImageKernel f{k, 1024, 0};
    for (; i < t.size() && t[i] != "{" && t[i] != ";"; ++i) {
      if (t[i] != ".maxntid" && t[i] != ".reqntid") continue;
      f.max_threads = 1;
      for (++i; i < t.size() && atoi(t[i].c_str()); i += t[i + 1] == "," ? 2 : 1) {
        f.max_threads *= atoi(t[i].c_str());
        if (i + 1 >= t.size()) break;
      }
      --i;
    }
    int depth = 0;
    for (; i < t.size(); ++i) {
      if (t[i] == "{") ++depth;
      if (t[i] == "}" && !--depth) break;
      if (t[i] == ";" && !depth) break;
      if (t[i] == ".shared") f.static_shared += declared_size(t, i);
    }
    (*out)[name] = f;
  }
  return SUCCESS;
}

}  // namespace

int read_image(const void *image, int capability, std::map<std::string, ImageKernel> *out) {
  if (!image) return INVALID_VALUE;
  const char *text = static_cast<const char *>(image);
  const bool fatbin = !memcmp(text, "\x50\xed\x55\xba", 4), elf = !memcmp(text, "\177ELF", 4);
  if (fatbin || elf) {
    for (const Kernel *k = kernels; k; k = k->next) (*out)[k->name] = {k, 1024, 0};
    return SUCCESS;
  }
  if (!strstr(text, ".version") || !strstr(text, ".target")) return INVALID_IMAGE;
  return read_ptx(text, capability, out);
}

}  // namespace cusim
