package dev.imago.storage;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.storage.FileStorage.Options;
import dev.imago.testing.Tool;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A JVM to which native access was not granted works, keeps to the locks, and is silent. */
class WithoutNativeAccessTest {
  @TempDir(factory = InTarget.class)
  private Path folder;

  @Test
  void everythingWorksAndNothingIsSaidOnStandardError() throws Exception {
    Path made = folder.resolve("made");
    Path inUse = folder.resolve("in use");
    try (var _ = FileStorage.create(inUse, Options.readWrite())) {
      Tool.Outcome outcome =
          Tool.run(
              Path.of(System.getProperty("java.home"), "bin", "java"),
              "-cp",
              "target/classes:target/test-classes",
              WithoutNativeAccess.class.getName(),
              made,
              inUse);

      assertThat(outcome.err()).isEmpty();
      assertThat(outcome.ok().out())
          .isEqualTo("false 100005 false Run[data=true, length=100005] h0o\nshared \"write\"\n");
    }

    byte[] expected = new byte[100_005];
    expected[100_000] = 'h';
    expected[100_004] = 'o';
    assertThat(Files.readAllBytes(made)).isEqualTo(expected);
  }
}
