package dev.imago.cli;

import dev.imago.image.LuksOptions;
import org.jspecify.annotations.Nullable;

/** What {@code -o encrypt.…} says of a new image. */
final class EncryptionParameters {
  /** An hour: more was hardly meant. */
  private static final long MAX_MILLIS = 3_600_000;

  private static final String CIPHERS =
      " aes-128 aes-192 aes-256 des 3des cast5-128 serpent-128 serpent-192 serpent-256 twofish-128"
          + " twofish-192 twofish-256 ";
  private static final String MODES = " ecb cbc xts ctr ";
  private static final String GENERATORS = " plain plain64 essiv ";
  private static final String HASHES = " md5 sha1 sha224 sha256 sha384 sha512 ripemd160 ";

  private final CreateParameters parameters;
  private final Secrets secrets;

  EncryptionParameters(CreateParameters parameters, Secrets secrets) {
    this.parameters = parameters;
    this.secrets = secrets;
  }

  LuksOptions toLibrary() throws Failure {
    String format = parameters.get("encrypt.format");
    if (format == null && parameters.get("encryption") == null) {
      throw new Failure("Parameter 'encrypt.format' is missing");
    }
    if (format != null && !format.equals("luks") && !format.equals("aes")) {
      throw notAccepted("format", format);
    }
    String id = parameters.get("encrypt.key-secret");
    if (id == null) {
      throw new Failure("Parameter 'encrypt.key-secret' is required for cipher");
    }
    LuksOptions options = LuksOptions.of(secrets.require(id));
    if (format == null || format.equals("aes")) {
      throw new Failure(
          "Images with the encryption method 'aes' are read, but not made here: it protects"
              + " little; use encrypt.format=luks");
    }
    String generator = word("ivgen-alg", GENERATORS, options.ivGenerator());
    String ivHash = parameters.get("encrypt.ivgen-hash-alg");
    if (ivHash != null) {
      word("ivgen-hash-alg", HASHES, ivHash);
    }
    return options
        .withCipher(
            word("cipher-alg", CIPHERS, options.cipher()),
            word("cipher-mode", MODES, options.mode()))
        .withIv(generator, ivHash(generator, ivHash))
        .withHash(word("hash-alg", HASHES, options.hash()))
        .withIterationMillis(millis());
  }

  /** As QEMU: essiv uses SHA-256 unless told otherwise, and the others need none. */
  private static @Nullable String ivHash(String generator, @Nullable String asked) {
    if (!generator.equals("essiv")) {
      return null;
    }
    return asked == null ? "sha256" : asked;
  }

  private long millis() throws Failure {
    String text = parameters.get("encrypt.iter-time");
    if (text == null) {
      return LuksOptions.DEFAULT_MILLIS;
    }
    return millis(text);
  }

  /** The value of {@code encrypt.iter-time}, a number already. */
  static long millis(String text) throws Failure {
    long millis = Long.parseLong(text);
    if (millis < 0 || millis > MAX_MILLIS) {
      throw new Failure("Parameter 'encrypt.iter-time' expects 0 to " + MAX_MILLIS);
    }
    return millis;
  }

  private String word(String name, String known, String initial) throws Failure {
    String word = parameters.get("encrypt." + name);
    if (word == null) {
      return initial;
    }
    if (!known.contains(" " + word + " ")) {
      throw notAccepted(name, word);
    }
    return word;
  }

  private static Failure notAccepted(String name, String value) {
    return new Failure("Parameter '" + name + "' does not accept value '" + value + "'");
  }
}
