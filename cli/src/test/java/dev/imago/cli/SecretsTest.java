package dev.imago.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.imago.image.Secret;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SecretsTest {
  private final Secrets secrets = new Secrets();

  @TempDir Path folder;

  private byte[] of(String object) throws Failure {
    secrets.add(object);
    return secrets.require("s").copy();
  }

  private static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  @Test
  void theyComeFromTheLineAsTheyAreCommasDoubled() throws Exception {
    assertArrayEquals(bytes("geheim, wirklich ü"), of("secret,id=s,data=geheim,, wirklich ü"));
  }

  @Test
  void theyComeFromFilesByteForByte() throws Exception {
    byte[] all = {0, 1, (byte) 0xff, '\n'};
    Path file = Files.write(folder.resolve("key"), all);
    assertArrayEquals(all, of("secret,id=s,file=" + file));
  }

  @Test
  void theyComeFromBase64() throws Exception {
    Path file = Files.writeString(folder.resolve("key"), "AAH/\nCg==\n");
    assertArrayEquals(
        new byte[] {0, 1, (byte) 0xff, '\n'},
        of("qom-type=secret,id=s,format=base64,file=" + file));
  }

  @Test
  void theyComeFromTheEnvironment() throws Exception {
    assertArrayEquals(bytes(System.getenv("PATH")), of("secret,id=s,env=PATH"));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '"',
      value = {
        "secret,id=a|Either 'file' or 'data' must be provided",
        "secret,data=a|Parameter 'id' is missing",
        "secret,id=a,data=x,file=y|'file' and 'data' are mutually exclusive",
        "secret,id=a,data=x,env=y|'env' excludes 'file' and 'data'",
        "secret,id=a,data=hidden!,format=base64|The secret is no valid base64 data",
        "secret,id=a,data=x,format=foo|Parameter 'format' does not accept value 'foo'",
        "secret,id=a,file=nope|Unable to read nope: Failed to open file “nope”: No such file or directory",
        "secret,id=a,env=NO_SUCH_VARIABLE|There is no environment variable 'NO_SUCH_VARIABLE'",
        "secret,id=a,data=x,bogus=1|Parameter 'bogus' is unexpected",
        "secret,id=a,data=x,keyid=b|Parameter 'keyid' is not supported here: secrets are not encrypted",
        "foo,id=a,data=x|Parameter 'qom-type' does not accept value 'foo'",
        "id=a,data=x|Parameter 'qom-type' is missing",
      })
  void mistakesAreSaidInQemusWords(String object, String message) {
    Failure failure = assertThrows(Failure.class, () -> secrets.add(object));
    assertEquals(message, failure.getMessage());
    assertFalse(failure.toString().contains("hidden"));
  }

  @Test
  void nobodyHasTwoOfOneNameAndAllAreWiped() throws Exception {
    secrets.add("secret,id=s,data=x");
    assertEquals(
        "attempt to add duplicate property 's' to object (type 'container')",
        assertThrows(Failure.class, () -> secrets.add("secret,id=s,data=y")).getMessage());
    Secret secret = secrets.require("s");
    secrets.close();
    assertThrows(IllegalStateException.class, secret::copy);
    assertEquals(
        "No secret with id 's'",
        assertThrows(Failure.class, () -> secrets.require("s")).getMessage());
  }
}
