package dev.imago.nbd;

import static org.assertj.core.api.Assertions.assertThat;

import dev.imago.nbd.wire.Request;
import dev.imago.testing.ClassUses;
import org.junit.jupiter.api.Test;

/** Who may know whom in this module (docs/architecture.md, "Import rule"). */
class ImportRuleTest {
  @Test
  void theProtocolOnPaperKnowsNeitherSocketsNorImages() throws Exception {
    assertThat(ClassUses.of(Request.class).breaking(ImportRuleTest::allowed)).isEmpty();
  }

  @Test
  void theRuleItselfRefusesWhatItIsThereFor() {
    assertThat(allowed("dev.imago.nbd.wire", "java.nio.channels.SocketChannel")).isFalse();
    assertThat(allowed("dev.imago.nbd.wire", "dev.imago.image.Image")).isFalse();
    assertThat(allowed("dev.imago.nbd.wire", "dev.imago.nbd.NbdServer")).isFalse();
    assertThat(allowed("dev.imago.nbd", "dev.imago.qcow2.ondisk.Header")).isFalse();
    assertThat(allowed("dev.imago.nbd", "dev.imago.cli.Main")).isFalse();

    assertThat(allowed("dev.imago.nbd", "dev.imago.nbd.wire.Request")).isTrue();
    assertThat(allowed("dev.imago.nbd.wire", "java.nio.ByteBuffer")).isTrue();
  }

  private static boolean allowed(String user, String used) {
    String usedPackage = ClassUses.packageOf(used);
    if (user.equals("dev.imago.nbd.wire")) {
      return usedPackage.equals(user)
          || usedPackage.equals("org.jspecify.annotations")
          || usedPackage.equals("java.nio")
          || usedPackage.matches("java\\.(io|lang|util)(\\..*)?")
          || usedPackage.equals("java.nio.charset");
    }
    return !usedPackage.endsWith(".ondisk") && !usedPackage.startsWith("dev.imago.cli");
  }
}
