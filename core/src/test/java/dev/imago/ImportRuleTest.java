package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.testing.ClassUses;
import java.util.Set;
import org.junit.jupiter.api.Test;

/**
 * Who may know whom (docs/architecture.md, "Import rule"), read from the class files: the door
 * knows the formats, a format knows the contract, the contract knows the ground, and never the
 * other way round.
 */
class ImportRuleTest {
  @Test
  void everyClassKnowsOnlyWhatItsRoomMayKnow() throws Exception {
    Set<String> broken = ClassUses.of(Images.class).breaking(ImportRuleTest::allowed);

    assertThat(broken).isEmpty();
  }

  @Test
  void theRuleItselfRefusesWhatItIsThereFor() {
    assertThat(allowed("dev.imago.qcow2", "dev.imago.raw.Raw")).isFalse();
    assertThat(allowed("dev.imago.qcow2.ondisk", "dev.imago.storage.Storage")).isFalse();
    assertThat(allowed("dev.imago.qcow2.ondisk", "dev.imago.image.Image")).isFalse();
    assertThat(allowed("dev.imago.qcow2.ondisk", "java.nio.channels.FileChannel")).isFalse();
    assertThat(allowed("dev.imago.image", "dev.imago.raw.Raw")).isFalse();
    assertThat(allowed("dev.imago.image", "dev.imago.Images")).isFalse();
    assertThat(allowed("dev.imago.storage", "dev.imago.image.Image")).isFalse();
    assertThat(allowed("dev.imago.internal", "dev.imago.storage.Storage")).isFalse();
    assertThat(allowed("dev.imago", "dev.imago.qcow2.ondisk.Geometry")).isFalse();
    assertThat(allowed("dev.imago.raw", "com.github.luben.zstd.Zstd")).isFalse();
    assertThat(allowed("dev.imago.raw", "java.sql.Connection")).isFalse();
    assertThat(allowed("dev.imago.raw", "dev.imago.crypto.SectorCipher")).isFalse();
    assertThat(allowed("dev.imago.qcow2", "javax.crypto.Cipher")).isFalse();
    assertThat(allowed("dev.imago.crypto", "dev.imago.qcow2.Qcow2")).isFalse();
    assertThat(allowed("dev.imago.filter", "dev.imago.qcow2.Qcow2")).isFalse();
    assertThat(allowed("dev.imago.qcow2", "dev.imago.filter.FaultStorage")).isFalse();

    assertThat(allowed("dev.imago", "dev.imago.qcow2.Qcow2")).isTrue();
    assertThat(allowed("dev.imago.qcow2", "dev.imago.storage.Storage")).isTrue();
    assertThat(allowed("dev.imago.qcow2", "dev.imago.qcow2.ondisk.Geometry")).isTrue();
    assertThat(allowed("dev.imago.qcow2.ondisk", "dev.imago.image.ImageFormatException")).isTrue();
    assertThat(allowed("dev.imago.image", "dev.imago.storage.Storage")).isTrue();
  }

  private static boolean allowed(String user, String used) {
    String usedPackage = ClassUses.packageOf(used);
    if (user.endsWith(".ondisk") && usedPackage.matches("java\\.nio\\.(channels|file)(\\..*)?")) {
      return false;
    }
    if (usedPackage.equals(user)
        || usedPackage.matches("java\\.(io|lang|math|net|nio|security|text|time|util)(\\..*)?")
        || usedPackage.equals("org.jspecify.annotations")) {
      return true;
    }
    if (user.endsWith(".ondisk")) {
      return usedPackage.equals("dev.imago.image") && used.endsWith("Exception");
    }
    if (usedPackage.equals("dev.imago.internal")) {
      return true;
    }
    return switch (user) {
      case "dev.imago" -> usedPackage.startsWith("dev.imago.") && !usedPackage.endsWith(".ondisk");
      case "dev.imago.image" -> usedPackage.equals("dev.imago.storage");
      // ExtendedOpenOption.DIRECT
      case "dev.imago.storage" -> usedPackage.equals("com.sun.nio.file");
      case "dev.imago.internal" -> false;
      case "dev.imago.filter" ->
          usedPackage.equals("dev.imago.image") || usedPackage.equals("dev.imago.storage");
      case "dev.imago.crypto" ->
          usedPackage.equals("dev.imago.image")
              || usedPackage.equals("dev.imago.storage")
              || usedPackage.startsWith("javax.crypto");
      // What is left is a format.
      default ->
          usedPackage.equals("dev.imago.image")
              || usedPackage.equals("dev.imago.storage")
              || usedPackage.equals(user + ".ondisk")
              || (user.equals("dev.imago.qcow2") && usedPackage.equals("dev.imago.crypto"))
              || (user.equals("dev.imago.qcow2") && usedPackage.equals("com.github.luben.zstd"));
    };
  }
}
