#include "auth/digest.hpp"

#include <memory>
#include <stdexcept>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

namespace subforge::auth {
namespace {

// OpenSSL looks an algorithm up by name, under a lock, whenever it is not handed one that was
// fetched before; that costs more than hashing a token. So algorithms are fetched once, and each
// thread keeps its own contexts.

template <auto release>
struct Releaser {
  template <class T>
  void operator()(T* object) const {
    release(object);
  }
};
using Hash = std::unique_ptr<EVP_MD, Releaser<EVP_MD_free>>;
using HashContext = std::unique_ptr<EVP_MD_CTX, Releaser<EVP_MD_CTX_free>>;
using Mac = std::unique_ptr<EVP_MAC, Releaser<EVP_MAC_free>>;
using MacContext = std::unique_ptr<EVP_MAC_CTX, Releaser<EVP_MAC_CTX_free>>;

void require(bool fine) {
  if (!fine) throw std::runtime_error("OpenSSL cannot compute SHA-256");
}

EVP_MD const* sha256_algorithm() {
  static Hash const algorithm(EVP_MD_fetch(nullptr, "SHA256", nullptr));
  return algorithm.get();
}

MacContext make_hmac_context() {
  Mac const algorithm(EVP_MAC_fetch(nullptr, "HMAC", nullptr));
  MacContext context(EVP_MAC_CTX_new(algorithm.get()));
  char name[] = "SHA256";
  OSSL_PARAM const parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
      OSSL_PARAM_construct_end(),
  };
  require(context != nullptr && EVP_MAC_CTX_set_params(context.get(), parameters) == 1);
  return context;
}

}  // namespace

Digest sha256(std::string_view bytes) {
  thread_local HashContext const context(EVP_MD_CTX_new());
  Digest digest{};
  require(context != nullptr &&
          EVP_DigestInit_ex2(context.get(), sha256_algorithm(), nullptr) == 1 &&
          EVP_DigestUpdate(context.get(), bytes.data(), bytes.size()) == 1 &&
          EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) == 1);
  return digest;
}

Digest hmac_sha256(std::string_view key, std::string_view bytes) {
  thread_local MacContext const context = make_hmac_context();
  Digest digest{};
  std::size_t length = 0;
  // Without a pointer the key of the call before would be used again.
  auto const* secret = reinterpret_cast<unsigned char const*>(key.empty() ? "" : key.data());
  auto const* data = reinterpret_cast<unsigned char const*>(bytes.data());
  require(EVP_MAC_init(context.get(), secret, key.size(), nullptr) == 1 &&
          EVP_MAC_update(context.get(), data, bytes.size()) == 1 &&
          EVP_MAC_final(context.get(), digest.data(), &length, digest.size()) == 1 &&
          length == digest.size());
  return digest;
}

}  // namespace subforge::auth
