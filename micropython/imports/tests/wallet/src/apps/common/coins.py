"""A large module: made by hand from a list of coins, many functions, each of which costs memory."""

def coin_0():
    return 0

def coin_1():
    return 1

def coin_2():
    return 2

def coin_3():
    return 3

def coin_4():
    return 4

def coin_5():
    return 5

def coin_6():
    return 6

def coin_7():
    return 7

def coin_8():
    return 8

def coin_9():
    return 9

def coin_10():
    return 10

def coin_11():
    return 11

def coin_12():
    return 12

def coin_13():
    return 13

def coin_14():
    return 14

def coin_15():
    return 15

def coin_16():
    return 16

def coin_17():
    return 17

def coin_18():
    return 18

def coin_19():
    return 19

def coin_20():
    return 20

def coin_21():
    return 21

def coin_22():
    return 22

def coin_23():
    return 23

def coin_24():
    return 24

def coin_25():
    return 25

def coin_26():
    return 26

def coin_27():
    return 27

def coin_28():
    return 28

def coin_29():
    return 29

def coin_30():
    return 30

def coin_31():
    return 31

def coin_32():
    return 32

def coin_33():
    return 33

def coin_34():
    return 34

def coin_35():
    return 35

def coin_36():
    return 36

def coin_37():
    return 37

def coin_38():
    return 38

def coin_39():
    return 39

def coin_40():
    return 40

def coin_41():
    return 41

def coin_42():
    return 42

def coin_43():
    return 43

def coin_44():
    return 44

def coin_45():
    return 45

def coin_46():
    return 46

def coin_47():
    return 47

def coin_48():
    return 48

def coin_49():
    return 49

def coin_50():
    return 50

def coin_51():
    return 51

def coin_52():
    return 52

def coin_53():
    return 53

def coin_54():
    return 54

def coin_55():
    return 55

def coin_56():
    return 56

def coin_57():
    return 57

def coin_58():
    return 58

def coin_59():
    return 59

def coin_60():
    return 60

def coin_61():
    return 61

def coin_62():
    return 62

def coin_63():
    return 63

def coin_64():
    return 64

def coin_65():
    return 65

def coin_66():
    return 66

def coin_67():
    return 67

def coin_68():
    return 68

def coin_69():
    return 69

def coin_70():
    return 70

def coin_71():
    return 71

def coin_72():
    return 72

def coin_73():
    return 73

def coin_74():
    return 74

def coin_75():
    return 75

def coin_76():
    return 76

def coin_77():
    return 77

def coin_78():
    return 78

def coin_79():
    return 79

def coin_80():
    return 80

def coin_81():
    return 81

def coin_82():
    return 82

def coin_83():
    return 83

def coin_84():
    return 84

def coin_85():
    return 85

def coin_86():
    return 86

def coin_87():
    return 87

def coin_88():
    return 88

def coin_89():
    return 89

def coin_90():
    return 90

def coin_91():
    return 91

def coin_92():
    return 92

def coin_93():
    return 93

def coin_94():
    return 94

def coin_95():
    return 95

def coin_96():
    return 96

def coin_97():
    return 97

def coin_98():
    return 98

def coin_99():
    return 99

def coin_100():
    return 100

def coin_101():
    return 101

def coin_102():
    return 102

def coin_103():
    return 103

def coin_104():
    return 104

def coin_105():
    return 105

def coin_106():
    return 106

def coin_107():
    return 107

def coin_108():
    return 108

def coin_109():
    return 109

def coin_110():
    return 110

def coin_111():
    return 111

def coin_112():
    return 112

def coin_113():
    return 113

def coin_114():
    return 114

def coin_115():
    return 115

def coin_116():
    return 116

def coin_117():
    return 117

def coin_118():
    return 118

def coin_119():
    return 119

def coin_120():
    return 120

def coin_121():
    return 121

def coin_122():
    return 122

def coin_123():
    return 123

def coin_124():
    return 124

def coin_125():
    return 125

def coin_126():
    return 126

def coin_127():
    return 127

def coin_128():
    return 128

def coin_129():
    return 129

def coin_130():
    return 130

def coin_131():
    return 131

def coin_132():
    return 132

def coin_133():
    return 133

def coin_134():
    return 134

def coin_135():
    return 135

def coin_136():
    return 136

def coin_137():
    return 137

def coin_138():
    return 138

def coin_139():
    return 139

def coin_140():
    return 140

def coin_141():
    return 141

def coin_142():
    return 142

def coin_143():
    return 143

def coin_144():
    return 144

def coin_145():
    return 145

def coin_146():
    return 146

def coin_147():
    return 147

def coin_148():
    return 148

def coin_149():
    return 149

def coin_150():
    return 150

def coin_151():
    return 151

def coin_152():
    return 152

def coin_153():
    return 153

def coin_154():
    return 154

def coin_155():
    return 155

def coin_156():
    return 156

def coin_157():
    return 157

def coin_158():
    return 158

def coin_159():
    return 159

def coin_160():
    return 160

def coin_161():
    return 161

def coin_162():
    return 162

def coin_163():
    return 163

def coin_164():
    return 164

def coin_165():
    return 165

def coin_166():
    return 166

def coin_167():
    return 167

def coin_168():
    return 168

def coin_169():
    return 169

def coin_170():
    return 170

def coin_171():
    return 171

def coin_172():
    return 172

def coin_173():
    return 173

def coin_174():
    return 174

def coin_175():
    return 175

def coin_176():
    return 176

def coin_177():
    return 177

def coin_178():
    return 178

def coin_179():
    return 179

def coin_180():
    return 180

def coin_181():
    return 181

def coin_182():
    return 182

def coin_183():
    return 183

def coin_184():
    return 184

def coin_185():
    return 185

def coin_186():
    return 186

def coin_187():
    return 187

def coin_188():
    return 188

def coin_189():
    return 189

def coin_190():
    return 190

def coin_191():
    return 191

def coin_192():
    return 192

def coin_193():
    return 193

def coin_194():
    return 194

def coin_195():
    return 195

def coin_196():
    return 196

def coin_197():
    return 197

def coin_198():
    return 198

def coin_199():
    return 199
